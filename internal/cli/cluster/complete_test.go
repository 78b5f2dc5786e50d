package cluster_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"

	"github.com/podid-io/podid/internal/cli/cluster"
)

// TestAShellDoesNotHang has an API server that takes requests and answers none.
func TestAShellDoesNotHang(t *testing.T) {
	t.Parallel() // it waits
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer server.Close()
	f := cluster.NewFlags()
	s := pflag.NewFlagSet("", pflag.ContinueOnError)
	f.Add(s)
	if err := s.Parse([]string{"--server", server.URL, "--kubeconfig", "/dev/null"}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	names := f.Names(t.Context(), &corev1.PodList{}, "pod/")
	if took := time.Since(began); took > 15*time.Second || len(names) > 0 {
		t.Errorf("%q after %s", names, took)
	}
}
