// Package e2e holds tests that need real parts: the API server, and, in
// network namespaces, podid's own programs.
package e2e_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/test/localcluster"
)

func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard())
	os.Exit(localcluster.Main(m)) //nolint:forbidigo // TestMain is the main of a test
}

// crds is the folder of the generated definitions.
func crds(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../config/crd")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// newScheme knows podid's kinds and the core ones.
func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(s), v1.AddToScheme(s)); err != nil {
		t.Fatal(err)
	}
	return s
}

// apiServer starts an API server with podid's kinds, on loopback.
func apiServer(t *testing.T) (*localcluster.ControlPlane, client.Client) {
	t.Helper()
	cp, err := localcluster.StartControlPlane(t.Context(), localcluster.ControlPlaneConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cp.Stop)
	if err := cp.InstallCRDs(t.Context(), crds(t)); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(cp.REST(), client.Options{Scheme: newScheme(t)})
	if err != nil {
		t.Fatal(err)
	}
	return cp, c
}
