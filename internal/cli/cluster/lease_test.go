package cluster_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/internal/cli/cluster"
)

func TestFlagsOfAController(t *testing.T) {
	c := &cluster.Cluster{System: "podid-system"}
	usual := client.ObjectKey{Namespace: "podid-system", Name: "podid-mic"}
	tests := map[string]struct {
		args string
		want cluster.ControllerFlags
	}{
		"none":                   {"", cluster.ControllerFlags{Lease: usual}},
		"a Lease of its own":     {"--leader-election-name=other --leader-election-namespace=leases", cluster.ControllerFlags{Lease: client.ObjectKey{Namespace: "leases", Name: "other"}}},
		"the namespace of all":   {"--namespace=$(POD_NAMESPACE) --log-level debug", cluster.ControllerFlags{Lease: usual}},
		"start-up taints, twice": {"--startup-taint=a,b --startup-taint=c", cluster.ControllerFlags{Lease: usual, StartupTaints: []string{"a", "b", "c"}}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			own := corev1.Container{Name: "mic", Args: strings.Fields(tc.args), Env: []corev1.EnvVar{{Name: "POD_NAMESPACE", Value: "podid-system"}}}
			pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "podid-system"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "proxy"}, own}}}
			if diff := cmp.Diff(tc.want, c.ControllerFlagsOf([]corev1.Pod{pod})); diff != "" {
				t.Errorf("ControllerFlagsOf() (-want +got):\n%s", diff)
			}
		})
	}
	if got := c.ControllerFlagsOf(nil).Lease; got != usual {
		t.Errorf("without a pod of mic the Lease is %s", got)
	}
}
