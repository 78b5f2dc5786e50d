package cleanup_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"
)

// faultyPlane is a way to the API server on which the first requests fail that ask
// for what is there, and the first that watch it: as those of an API server that
// restarts.
func faultyPlane(t *testing.T, namespace string, status int) (kubeconfig string) {
	t.Helper()
	transport, err := rest.TransportFor(plane.REST())
	if err != nil {
		t.Fatal(err)
	}
	to, err := url.Parse(plane.REST().Host)
	if err != nil {
		t.Fatal(err)
	}
	var lists, watches atomic.Int32
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		awaited := r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/"+namespace+"/daemonsets") && r.URL.Query().Has("fieldSelector")
		counter := &lists
		if r.URL.Query().Has("watch") {
			counter = &watches
		}
		if awaited && counter.Add(1) == 1 {
			w.WriteHeader(status)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	text := `{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}], clusters: [{name: c, cluster: {server: "` + s.URL + `"}}]}`
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

func TestCleanupOnAnAPIServerThatFails(t *testing.T) {
	tests := map[string]struct {
		status int
		want   string
	}{
		"goes on when it is back":        {http.StatusServiceUnavailable, ""},
		"goes on when it is overwhelmed": {http.StatusInternalServerError, ""},
		"ends when it refuses":           {http.StatusForbidden, "the redirect is not off every node"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			namespace := strings.ReplaceAll(name, " ", "-")
			w := newWorld(t, namespace)
			w.run(t, answers{})
			out, errs, status := podid(t, "--kubeconfig", faultyPlane(t, namespace, tt.status), "-n", namespace, "--yes")
			off := strings.Contains(out, "the redirect is off 2 nodes")
			if off != (tt.want == "") || (status == 0) != off || !strings.Contains(errs, tt.want) {
				t.Errorf("status %d: %s%s", status, out, errs)
			}
		})
	}
}
