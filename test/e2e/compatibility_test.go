package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/cli/demo"
	"github.com/podid-io/podid/test/localcluster"
)

const metadataURL = "http://169.254.169.254/metadata/"

// wantStatus checks what a path of the metadata service is answered with.
func wantStatus(t *testing.T, p *localcluster.Pod, path string, want int, says string) {
	t.Helper()
	status, body, err := fetch(t.Context(), p.DialContext, metadataURL+path)
	if err != nil || status != want || !strings.Contains(body, says) {
		t.Errorf("%s is answered %d %s (%v), want %d and %q", path, status, body, err, want, says)
	}
}

// oldDefaults: what docs/compatibility.md says that --compatibility brings back,
// and that it is not there without.
func oldDefaults(t *testing.T, w *demo.World) {
	t.Helper()
	node := w.Cluster.Nodes()[0]
	needNamespace(t, w, "far")
	app := run(t, w, newPod(w, "default", "app", map[string]string{v1.LabelBinding: "late"}))
	copycat := run(t, w, newPod(w, "far", "copycat", map[string]string{v1.LabelBinding: "late"}))
	excepted := run(t, w, newPod(w, "default", "excepted-too", map[string]string{"noaad": "true"})) // by the manifest in the old spelling
	families := map[string]string{
		"instance?api-version=2021-02-01":          "vmss",
		"attested/document?api-version=2020-09-01": "signature",
		"scheduledevents?api-version=2020-09-01":   "Events",
		"loadbalancer?api-version=2020-10-01":      "loadbalancer",
		"versions":                                 "apiVersions",
		"identity/info?api-version=2018-02-01":     homeTenant,
	}
	wantOwner(t, app, "", lateClient)
	t.Run("not without the flag", func(t *testing.T) {
		for path, says := range families {
			if strings.HasPrefix(path, "identity/") {
				wantStatus(t, app, path, http.StatusOK, says)
				continue
			}
			wantStatus(t, app, path, http.StatusForbidden, "pods may not read")
		}
		for _, p := range []*localcluster.Pod{copycat, excepted} {
			if got, err := owner(t, p, "&client_id="+micClient); err == nil {
				t.Errorf("pod %s/%s gets a token of %s", p.Namespace, p.Name, got.ClientID)
			}
		}
		if got, err := owner(t, copycat, ""); err == nil {
			t.Errorf("a copied label gets a token of %s", got.ClientID)
		}
	})
	replaceAgent(t, w, node, "compatible", "--compatibility=aad-pod-identity")
	t.Run("with it", func(t *testing.T) {
		for path, says := range families {
			wantStatus(t, app, path, http.StatusOK, says)
		}
		wantOwner(t, copycat, "", lateClient)
		wantOwner(t, excepted, "&client_id="+micClient, micClient)
		if got, err := owner(t, app, "&client_id="+micClient); err == nil {
			t.Errorf("a pod gets a token of %s, which is not its own", got.ClientID)
		}
	})
	t.Run("its end takes the redirect away", func(t *testing.T) {
		w.Agent(node).Stop()
		wantOwner(t, app, "&client_id="+micClient, micClient)
		awaitAgent(t, w, startAgent(t, w, node, "last"))
		if got, err := owner(t, app, "&client_id="+micClient); err == nil {
			t.Errorf("with an agent again, the pod gets a token of %s", got.ClientID)
		}
	})
}
