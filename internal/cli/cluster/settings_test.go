package cluster_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podid-io/podid/internal/cli/cluster"
	"github.com/podid-io/podid/internal/identity"
)

func TestFlagsOfAnAgent(t *testing.T) {
	usual := []string{"kube-system", "podid-system"}
	tests := map[string]struct {
		args    string
		env     map[string]string
		rules   identity.Rules
		managed bool
		opened  []string
	}{
		"none":              {rules: identity.Rules{ExceptionNamespaces: usual}},
		"what is unknown":   {args: "--node=n --later=1 --other x --log-level debug", rules: identity.Rules{ExceptionNamespaces: usual}},
		"across namespaces": {args: "--allow-cross-namespace", rules: identity.Rules{AcrossNamespaces: true, ExceptionNamespaces: usual}, opened: []string{"--allow-cross-namespace"}},
		"as it was": {
			args:   "--compatibility=aad-pod-identity",
			rules:  identity.Rules{AcrossNamespaces: true, ExceptionNamespaces: []string{"*"}},
			opened: []string{"--allow-cross-namespace", "--exception-namespaces=*", "--host-token", "--pass-through=instance,userdata,attested,scheduledevents,loadbalancer,versions", "--remove-redirect-on-exit"},
		},
		"as it was, in namespaces": {
			args: "--compatibility=aad-pod-identity --exception-namespaces=a,b --pass-through= --host-token=false --remove-redirect-on-exit=false", env: map[string]string{"FORCENAMESPACED": "true"},
			rules: identity.Rules{ExceptionNamespaces: []string{"a", "b"}},
		},
		"as it was, without the machine's metadata": {
			args:   "--compatibility=aad-pod-identity --block-instance-metadata --exception-namespaces=a --host-token=false --remove-redirect-on-exit=false --forceNamespaced",
			rules:  identity.Rules{ExceptionNamespaces: []string{"a"}},
			opened: []string{"--pass-through=attested,scheduledevents,loadbalancer,versions"},
		},
		"nothing is left of what passes": {args: "--pass-through=instance --block-instance-metadata", rules: identity.Rules{ExceptionNamespaces: usual}},
		"managed, as it was": {
			args: "--operation-mode=Managed --compatibility=aad-pod-identity --pass-through=versions --host-token=false --remove-redirect-on-exit=false", managed: true,
			rules: identity.Rules{ExceptionNamespaces: []string{"*"}}, opened: []string{"--exception-namespaces=*", "--pass-through=versions"},
		},
		"a value of the environment": {args: "--authority-hosts=$(HOSTS)", env: map[string]string{"HOSTS": "login.example"}, rules: identity.Rules{ExceptionNamespaces: usual, AuthorityHosts: []string{"login.example"}}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := corev1.Container{Name: "nmi", Args: strings.Fields(tc.args)}
			for k, v := range tc.env {
				c.Env = append(c.Env, corev1.EnvVar{Name: k, Value: v})
			}
			got := cluster.FlagsOf(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "podid-system"}, Spec: corev1.PodSpec{Containers: []corev1.Container{c}}})
			if diff := cmp.Diff(tc.rules, got.Rules); diff != "" || got.Managed != tc.managed {
				t.Errorf("managed %t, rules (-want +got):\n%s", got.Managed, diff)
			}
			var opened []string
			for _, o := range got.Opened {
				opened = append(opened, o.Flag)
			}
			if diff := cmp.Diff(tc.opened, opened); diff != "" {
				t.Errorf("opened (-want +got):\n%s", diff)
			}
		})
	}
}
