package nmi_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/internal/explain"
	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/nodeview"
	"github.com/podid-io/podid/internal/token"
)

// explainer serves explanations on a listener until the test ends, and returns a
// way to ask for them.
func explainer(t *testing.T, w *fakeWorld, network string, edits ...func(*nmi.Config)) func(query string) (int, string) {
	t.Helper()
	s := newServer(t, w, edits...)
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	h := s.Explain(nmi.ExplainConfig{
		Node: "node", Version: "v1", Rules: identity.Rules{ExceptionNamespaces: []string{"kube-system"}},
		Ready:  func() (bool, []string) { return true, []string{"[+] redirect"} },
		Places: w.places,
		Survey: func([]netip.Addr) error { return w.survey },
	})
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Second}
	done := make(chan struct{})
	go func() { // ends with Close
		defer close(done)
		_ = server.Serve(l)
	}()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, l.Addr().String())
	}}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		_ = server.Close()
		<-done
	})
	return func(query string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost"+nmi.ExplainPath+"?"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Transport: tr}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
}

func (f *fakeWorld) places(namespace, pod string) []nodeview.Place {
	if namespace != f.found.Pod.Namespace || pod != f.found.Pod.Name {
		return nil
	}
	p := nodeview.Place{Addr: podAddr, Link: 7, Err: f.placeErr}
	if f.placeErr != nil {
		p.Rivals = []string{"team/other"}
	}
	return []nodeview.Place{p}
}

func TestExplainTellsWhatThePodWouldGet(t *testing.T) {
	const jwt = "aGVhZA.eyJhdWQiOiJodHRwczovL3ZhdWx0LmF6dXJlLm5ldCIsImFwcGlkIjoiY2xpZW50LWJsdWUiLCJvaWQiOiJvIiwidGlkIjoidCJ9.c2lnbmF0dXJl"
	base := explain.Answer{
		Version: "v1", Node: "node", Rules: identity.Rules{ExceptionNamespaces: []string{"kube-system"}},
		Ready: true, Checks: []string{"[+] redirect"}, PodUID: "uid-1", Addresses: []explain.Address{{Address: podAddr.String()}},
	}
	with := func(change func(*explain.Answer)) explain.Answer {
		a := base
		change(&a)
		return a
	}
	tests := map[string]struct {
		query string
		world func(*fakeWorld)
		want  explain.Answer
	}{
		"whose it is, when no token is asked for": {
			query: "namespace=team&pod=web",
			want:  with(func(a *explain.Answer) { a.Outcome, a.Identity = "selected", "team/blue" }),
			world: func(f *fakeWorld) { f.how = "miss" },
		},
		"the claims of a token": {
			query: "namespace=team&pod=web&resource=https://vault.azure.net",
			world: func(f *fakeWorld) { f.token.Value = jwt; f.token.ExpiresOn = time.Unix(1800000000, 0).UTC() },
			want: with(func(a *explain.Answer) {
				a.Outcome, a.Identity, a.Status = "hit", "team/blue", 200
				a.Claims = &explain.Claims{Audience: "https://vault.azure.net", AppID: "client-blue", ObjectID: "o", TenantID: "t", Expires: time.Unix(1800000000, 0).UTC()}
			}),
		},
		"a token that is no JWT": {
			query: "namespace=team&pod=web&resource=r",
			world: func(f *fakeWorld) { f.token.ExpiresOn = time.Unix(1800000000, 0).UTC() },
			want: with(func(a *explain.Answer) {
				a.Outcome, a.Identity, a.Status = "hit", "team/blue", 200
				a.Claims = &explain.Claims{Opaque: true, Expires: time.Unix(1800000000, 0).UTC()}
			}),
		},
		"Azure's own words": {
			query: "namespace=team&pod=web&resource=r",
			world: func(f *fakeWorld) {
				f.err = &token.Error{Kind: token.Rejected, Err: errors.New("AADSTS7000222: the client secret has expired")}
			},
			want: with(func(a *explain.Answer) {
				a.Outcome, a.Reason, a.Identity, a.Status, a.Says = "denied", "rejected", "team/blue", 400, "AADSTS7000222: the client secret has expired"
			}),
		},
		"an identity that it is not bound to": {
			query: "namespace=team&pod=web&resource=r&client_id=stranger",
			world: func(f *fakeWorld) { f.found.Pod.Created = time.Now().Add(-time.Hour) },
			want: with(func(a *explain.Answer) {
				a.Outcome, a.Reason, a.Status, a.Says = "denied", "not_bound", 400, "pod team/web is not bound to the identity that it asks for"
			}),
		},
		"a binding that may be on its way": {
			query: "namespace=team&pod=web&resource=r",
			world: func(f *fakeWorld) { f.found.Pod.Created, f.found.Grants = time.Now(), nil },
			want: with(func(a *explain.Answer) {
				a.Outcome, a.Reason, a.Status, a.Retry = "not_ready", "no_binding", 404, true
				a.Says = `no AzureIdentityBinding in namespace team has the selector "web" of pod web yet; try again`
			}),
		},
		"an address that another pod claims": {
			query: "namespace=team&pod=web",
			world: func(f *fakeWorld) { f.placeErr, f.how = nodeview.ErrAmbiguous, "miss" },
			want: with(func(a *explain.Answer) {
				a.Outcome, a.Identity = "selected", "team/blue"
				a.Addresses = []explain.Address{{Address: podAddr.String(), Trouble: nodeview.ErrAmbiguous.Error(), Ambiguous: true, Rivals: []string{"team/other"}}}
			}),
		},
		"a bridge": {
			query: "namespace=team&pod=web",
			world: func(f *fakeWorld) { f.survey, f.how = errors.New("bridge cbr0"), "miss" },
			want:  with(func(a *explain.Answer) { a.Outcome, a.Identity, a.Network = "selected", "team/blue", "bridge cbr0" }),
		},
		"a pod that it does not know": {
			query: "namespace=team&pod=nobody&resource=r",
			want: with(func(a *explain.Answer) {
				a.PodUID, a.Addresses, a.Unknown, a.Retry = "", nil, nodeview.ErrUnknown.Error(), true
			}),
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			if tc.world != nil {
				tc.world(w)
			}
			status, body := explainer(t, w, "unix")(tc.query)
			var got explain.Answer
			if err := json.Unmarshal([]byte(body), &got); err != nil || status != http.StatusOK {
				t.Fatalf("answered %d %s: %v", status, body, err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			if value := string(w.token.Value); strings.Contains(body, value) || strings.Contains(body, value[strings.LastIndex(value, ".")+1:]) {
				t.Errorf("the token, or its signature, is told: %s", body)
			}
		})
	}
}

// TestExplainIsForTheSocketAlone: what identities a pod has is nobody's business who
// can merely reach a port of the node.
func TestExplainIsForTheSocketAlone(t *testing.T) {
	w := newWorld()
	status, body := explainer(t, w, "tcp4")("namespace=team&pod=web&resource=r")
	if status != http.StatusForbidden || strings.Contains(body, "blue") || len(w.requests()) > 0 {
		t.Errorf("by TCP answered %d %s after %d requests for tokens, want 403 after none", status, body, len(w.requests()))
	}
	c := serve(t, w, nmi.Controller{})
	if status, body := c.raw(t, nmi.ExplainPath+"?namespace=team&pod=web"); status != http.StatusNotFound || strings.Contains(string(body), "blue") {
		t.Errorf("a pod is answered %d %s, want 404", status, body)
	}
}

func TestExplainNeedsAPod(t *testing.T) {
	for _, query := range []string{"", "namespace=team", "pod=web"} {
		if status, body := explainer(t, newWorld(), "unix")(query); status != http.StatusBadRequest {
			t.Errorf("%q is answered %d %s, want 400", query, status, body)
		}
	}
}

// TestExplainLeavesNoTrace: it is not the pod that asks, so there is no line of it in
// the audit log, and nothing is got ahead of a need that nobody had.
func TestExplainLeavesNoTrace(t *testing.T) {
	w := newWorld()
	audit := &lockedBuffer{}
	get := explainer(t, w, "unix", auditTo(t, audit))
	if status, body := get("namespace=team&pod=web&resource=r"); status != http.StatusOK || !strings.Contains(body, `"outcome":"hit"`) {
		t.Fatalf("answered %d %s", status, body)
	}
	if audit.String() != "" {
		t.Errorf("audit log: %s", audit)
	}
}
