package localcluster_test

import (
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/test/localcluster"
)

func startControlPlane(t *testing.T) *localcluster.ControlPlane {
	t.Helper()
	began := time.Now()
	c, err := localcluster.StartControlPlane(t.Context(), localcluster.ControlPlaneConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	t.Logf("the control plane took %s", time.Since(began))
	return c
}

func newClient(t *testing.T, kubeconfig string) client.WithWatch {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	cfg.QPS = -1
	c, err := client.NewWithWatch(cfg, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func pod(namespace, name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/app"}}},
	}
}

func TestControlPlaneServesAPodAndTheCRDs(t *testing.T) {
	c := startControlPlane(t)
	api := newClient(t, c.Kubeconfig())

	if err := c.InstallCRDs(t.Context(), "testdata/crds"); err != nil {
		t.Fatal(err)
	}
	if err := c.InstallCRDs(t.Context(), "testdata/crds"); err != nil {
		t.Errorf("installing the CRDs again: %v", err)
	}
	colors := &unstructured.UnstructuredList{}
	colors.SetAPIVersion("example.com/v1")
	colors.SetKind("ColorList")
	if err := api.List(t.Context(), colors); err != nil {
		t.Errorf("list a custom resource: %v", err)
	}

	if err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}); err != nil {
		t.Fatal(err)
	}
	if err := api.Create(t.Context(), pod("team", "first")); err != nil {
		t.Errorf("create a pod in a namespace that was just made: %v", err)
	}
}

func TestTokenKubeconfigHasTheAccountsRightsOnly(t *testing.T) {
	c := startControlPlane(t)
	if err := newClient(t, c.Kubeconfig()).Create(t.Context(), &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "nobody"},
	}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "nobody.kubeconfig")
	if err := c.TokenKubeconfig(t.Context(), "default", "nobody", path); err != nil {
		t.Fatal(err)
	}
	err := newClient(t, path).List(t.Context(), &corev1.SecretList{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("listing secrets with a token of an account without rights: got %v, want forbidden", err)
	}
}
