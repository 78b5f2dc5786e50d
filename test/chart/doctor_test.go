package chart_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/internal/cli/command"
	"github.com/podid-io/podid/internal/cli/doctor"
)

// TestHelmTestMayReadWhatItAsksFor runs podid doctor with the rights of the test
// pod: none that it needs is missing, and a node that the values leave out is not
// broken.
func TestHelmTestMayReadWhatItAsksFor(t *testing.T) {
	t.Parallel()
	c := apiServer(t)
	c.on(t, "install", "podid", chart, "-n", "podid-system", "--create-namespace", "--set", identity+",nmi.nodeSelector.pool=apps")
	c.people(t)
	made := 0
	for _, o := range rendered(t) {
		if o.GetName() != "podid-test" || o.GetKind() == "Pod" {
			continue
		}
		kind := o.GroupVersionKind()
		mapping, err := c.client.RESTMapper().RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			t.Fatal(err)
		}
		var resource dynamic.ResourceInterface = c.dynamic.Resource(mapping.Resource)
		if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
			resource = c.dynamic.Resource(mapping.Resource).Namespace(o.GetNamespace())
		}
		if _, err := resource.Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		made++
	}
	if made != 3 {
		t.Fatalf("%d objects of the test, want a service account, a role and a binding", made)
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := c.TokenKubeconfig(t.Context(), "podid-system", "podid-test", kubeconfig); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	command := doctor.New(command.Config{Getenv: func(string) string { return "" }})
	command.SetArgs([]string{"--kubeconfig", kubeconfig, "--podid-namespace=podid-system"})
	command.SetOut(&out)
	command.SetErr(&out)
	err := command.ExecuteContext(t.Context()) // nothing runs here, so something is broken
	if err == nil || strings.Contains(out.String(), "forbidden") || !strings.Contains(out.String(), " 0 unknown,") {
		t.Errorf("podid doctor: %v\n%s", err, out.String())
	}
	if !strings.Contains(out.String(), "left out by nmi's nodeSelector (kubernetes.io/os=linux,pool=apps): left-out;") || strings.Contains(out.String(), "no nmi on") {
		t.Errorf("a node that nmi is not for:\n%s", out.String())
	}
	for _, check := range []string{"crds", "rights", "mic", "nmi", "policies", "rivals", "pods", "network", "open"} {
		if !strings.Contains(out.String(), " "+check+" ") {
			t.Errorf("it has not come to %s:\n%s", check, out.String())
		}
	}
}

// people are a node, pods of mic and nmi as they are before they run, and a node
// that nmi is not for.
func (c cluster) people(t *testing.T) {
	t.Helper()
	all := []client.Object{
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", Labels: map[string]string{"kubernetes.io/os": "linux", "pool": "apps"}}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "left-out", Labels: map[string]string{"kubernetes.io/os": "linux"}}},
	}
	for _, component := range []string{"mic", "nmi"} {
		all = append(all, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "podid-system", Name: component,
				Labels: map[string]string{"app.kubernetes.io/name": "podid", "app.kubernetes.io/component": component},
			},
			Spec: corev1.PodSpec{
				NodeName: "node", ServiceAccountName: "podid-" + component,
				Containers: []corev1.Container{{Name: component, Image: component}},
			},
		})
	}
	for _, o := range all {
		if err := c.client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}
