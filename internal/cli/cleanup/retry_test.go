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

// faulty is a way to the API server on which the first request fails that asks for
// what is there, or the first that watches it: as those of an API server that restarts.
type faulty struct {
	status int
	watch  bool          // a watch fails, and no list
	failed chan struct{} // closed when it has
}

func (f *faulty) kubeconfig(t *testing.T, namespace string) string {
	t.Helper()
	var counted atomic.Int32
	return between(t, func(w http.ResponseWriter, r *http.Request) (answered bool) {
		awaited := r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/"+namespace+"/daemonsets") && r.URL.Query().Has("fieldSelector")
		watch := r.URL.Query().Has("watch")
		if !awaited || watch != f.watch || counted.Add(1) > 1 {
			return false
		}
		w.WriteHeader(f.status)
		close(f.failed)
		return true
	})
}

// between is the kubeconfig of a way to the API server on which requests come first to
// answer.
func between(t *testing.T, answer func(http.ResponseWriter, *http.Request) (answered bool)) (kubeconfig string) {
	t.Helper()
	transport, err := rest.TransportFor(plane.REST())
	if err != nil {
		t.Fatal(err)
	}
	to, err := url.Parse(plane.REST().Host)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !answer(w, r) {
			proxy.ServeHTTP(w, r)
		}
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
		watch  bool
		want   string
	}{
		"goes on when it is back":               {http.StatusServiceUnavailable, false, ""},
		"goes on when it is overwhelmed":        {http.StatusInternalServerError, false, ""},
		"ends when it refuses":                  {http.StatusForbidden, false, "the redirect is not off every node"},
		"goes on when a watch was not answered": {http.StatusServiceUnavailable, true, ""},
		"ends when it refuses a watch":          {http.StatusForbidden, true, "the redirect is not off every node"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			namespace := strings.ReplaceAll(name, " ", "-")
			w := newWorld(t, namespace)
			f := &faulty{status: tt.status, watch: tt.watch, failed: make(chan struct{})}
			a := answers{}
			if f.watch { // there is nothing to watch for otherwise
				a.after = f.failed
			}
			w.run(t, a)
			out, errs, status := podid(t, "--kubeconfig", f.kubeconfig(t, namespace), "-n", namespace, "--yes", "--timeout=2m")
			off := strings.Contains(out, "the redirect is off 2 nodes")
			if off != (tt.want == "") || (status == 0) != off || !strings.Contains(errs, tt.want) {
				t.Errorf("status %d: %s%s", status, out, errs)
			}
		})
	}
}
