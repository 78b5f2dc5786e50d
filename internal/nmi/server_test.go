package nmi_test

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/nodeview"
	"github.com/podid-io/podid/internal/redirect"
	"github.com/podid-io/podid/internal/token"
	"github.com/podid-io/podid/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

func TestAnswers(t *testing.T) {
	tests := map[string]struct {
		path       string
		world      func(*fakeWorld)
		wantStatus int
		wantText   string         // in error_description
		wantAsked  *token.Request // nil: the source is not asked
		wantFor    time.Duration  // how long the answer takes
	}{
		"the pod's default identity": {path: ask, wantStatus: 200, wantAsked: &token.Request{ClientID: "client-blue", Resource: "https://vault.azure.net"}},
		"the one that it asks for":   {path: ask + "&msi_res_id=/RED", wantStatus: 200, wantAsked: &token.Request{ResourceID: "/red", Resource: "https://vault.azure.net"}},
		"one that is not its own": {
			path: ask + "&client_id=client-green", world: func(f *fakeWorld) { f.found.Pod.Created = time.Now().Add(-time.Hour) },
			wantStatus: 400, wantText: "Identity not found: pod team/web is not bound",
		},
		"one that may become its own": {path: ask + "&client_id=client-green", wantStatus: 404, wantText: "is not bound to the identity that it asks for yet"},
		"an identity without ids": {
			path: ask, world: func(f *fakeWorld) { f.found.Grants = []identity.Grant{{Ready: true}} },
			wantStatus: 400, wantText: "Identity not found",
		},
		"a service principal": {
			path: ask, world: func(f *fakeWorld) {
				f.found.Grants = []identity.Grant{{Identity: identity.Identity{Type: v1.ServicePrincipal, ClientID: "c"}, Ready: true}}
			},
			wantStatus: 400, wantText: "is not served",
		},
		"two at once":       {path: ask + "&client_id=a&object_id=b", wantStatus: 400, wantText: "both given"},
		"no resource":       {path: "/metadata/identity/oauth2/token?api-version=2018-02-01", wantStatus: 400, wantText: "'resource' is missing"},
		"an unknown path":   {path: "/metadata/identity/getplatformmetadata", wantStatus: 404, wantText: "not found"},
		"instance metadata": {path: "/metadata/instance?api-version=2021-02-01", wantStatus: 403},
		"a pod without label": {
			path: ask, world: func(f *fakeWorld) { f.found.Pod.Selector, f.found.Grants = "", nil },
			wantStatus: 400, wantText: "Identity not found: pod team/web has no label",
		},
		"a young pod that nothing binds": {
			path: ask, world: func(f *fakeWorld) { f.found.Grants = nil },
			wantStatus: 404, wantText: "yet; try again",
		},
		"a pod that nothing binds": {
			path: ask, world: func(f *fakeWorld) { f.found.Grants = nil; f.found.Pod.Created = time.Now().Add(-time.Hour) },
			wantStatus: 400, wantText: "Identity not found",
		},
		"an address that no pod has, for the whole hold": {
			path: ask, world: func(f *fakeWorld) { f.viewErr = nodeview.ErrUnknown },
			wantStatus: 404, wantText: "no running pod", wantFor: nmi.DefaultHold,
		},
		"an address that two pods claim": {
			path: ask, world: func(f *fakeWorld) { f.viewErr = nodeview.ErrAmbiguous },
			wantStatus: 404, wantText: "several pods", wantFor: nmi.DefaultHold,
		},
		"an identity that never comes": {
			path: ask, world: func(f *fakeWorld) { f.found.Grants[0].Ready = false },
			wantStatus: 404, wantText: "team/blue is on its way", wantFor: nmi.DefaultHold,
		},
		"a connection that did not come by the redirect": {
			path: ask, world: func(f *fakeWorld) { f.origin.Destination = redirect.DefaultListen },
			wantStatus: 400, wantText: "Identity not found",
		},
		"a neighbour's address by another interface": {
			path: ask, world: func(f *fakeWorld) { f.origin.Interface = 8 },
			wantStatus: 400, wantText: "Identity not found",
		},
		"a kernel that does not tell the interface": {
			path: ask, world: func(f *fakeWorld) { f.origin.Interface, f.origin.RouteBack = 0, 0 },
			wantStatus: 400, wantText: "Identity not found",
		},
		"Azure refuses": {
			path: ask, world: func(f *fakeWorld) {
				f.err = &token.Error{Kind: token.Rejected, Err: errors.New("IMDS answered 400: invalid_resource: AADSTS500011")}
			},
			wantStatus: 400, wantText: "AADSTS500011", wantAsked: &token.Request{ClientID: "client-blue", Resource: "https://vault.azure.net"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				if tc.world != nil {
					tc.world(w)
				}
				c := serve(t, w, nmi.Controller{})
				start := time.Now()
				status, body := c.get(t, tc.path)
				if status != tc.wantStatus || !strings.Contains(body["error_description"], tc.wantText) {
					t.Errorf("answered %d %v, want %d and %q", status, body, tc.wantStatus, tc.wantText)
				}
				if took := time.Since(start); took != tc.wantFor {
					t.Errorf("the answer took %s, want %s", took, tc.wantFor)
				}
				if status == 200 && body["access_token"] != "the-token" {
					t.Errorf("the answer is %v, want the token", body)
				}
				var want []token.Request
				if tc.wantAsked != nil {
					want = append(want, *tc.wantAsked)
				}
				if diff := cmp.Diff(want, w.requests()); diff != "" {
					t.Errorf("asked of the source (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestNoTokenWithoutItsLineInSyncMode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		c := serve(t, w, nmi.Controller{})
		c.audit.fail(errors.New("disk full"))
		if status, body := c.get(t, ask); status != 503 || body["access_token"] != "" {
			t.Errorf("answered %d %v, want 503 and no token", status, body)
		}
		c.audit.fail(nil)
		if status, _ := c.get(t, ask); status != 200 {
			t.Errorf("answered %d when the sink works again, want 200", status)
		}
	})
}

func TestConnectionStaysWithItsPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		c := serve(t, w, nmi.Controller{})
		if status, _ := c.get(t, ask); status != 200 {
			t.Fatalf("the first pod got %d", status)
		}
		w.change(func(f *fakeWorld) { f.found.Pod.UID, f.found.Pod.Name = "uid-2", "next" })
		if status, body := c.get(t, ask); status != 404 || body["access_token"] != "" {
			t.Errorf("a connection of the old pod got %d %v, want 404", status, body)
		}
		c.http.CloseIdleConnections()
		if status, _ := c.get(t, ask); status != 200 {
			t.Errorf("the new pod's own connection got %d, want 200", status)
		}
	})
}

func TestControllerGetsItsIdentityForARMAlone(t *testing.T) {
	controller := nmi.Controller{
		Namespace: "podid-system", ServiceAccount: "podid-mic", ClientID: "Client-MIC",
		Resources: []string{"https://management.azure.com"},
	}
	const arm = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://management.azure.com/"
	tests := map[string]struct {
		namespace, account, path string
		wantStatus               int
		wantAsked                []token.Request
	}{
		"mic, for ARM":                   {"podid-system", "podid-mic", arm, 200, []token.Request{{ClientID: "client-mic", Resource: "https://management.azure.com/"}}},
		"mic, for ARM, by its client id": {"podid-system", "podid-mic", arm + "&client_id=client-mic", 200, []token.Request{{ClientID: "client-mic", Resource: "https://management.azure.com/"}}},
		"mic, for a vault":               {"podid-system", "podid-mic", ask, 400, nil},
		"mic, by another client id":      {"podid-system", "podid-mic", arm + "&client_id=client-blue", 400, nil},
		"mic, by resource id":            {"podid-system", "podid-mic", arm + "&msi_res_id=/x", 400, nil},
		"the same name elsewhere":        {"team", "podid-mic", arm, 400, nil},
		"another account beside mic":     {"podid-system", "default", arm, 400, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.found = nodeview.Found{Pod: identity.Pod{Namespace: tc.namespace, Name: "mic-1", UID: "u", ServiceAccount: tc.account}}
				c := serve(t, w, controller)
				if status, body := c.get(t, tc.path); status != tc.wantStatus {
					t.Errorf("answered %d %v, want %d", status, body, tc.wantStatus)
				}
				if diff := cmp.Diff(tc.wantAsked, w.requests()); diff != "" {
					t.Errorf("asked of the source (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestAuditSaysWhoGotWhatAndNeverTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		c := serve(t, w, nmi.Controller{})
		w.found.Pod.Created = time.Now().Add(-time.Hour)
		c.get(t, ask)
		c.get(t, ask+"&client_id=client-green")
		var lines []map[string]any
		for line := range strings.SplitSeq(strings.TrimSpace(c.audit.String()), "\n") {
			var l map[string]any
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatal(err)
			}
			delete(l, "time")
			lines = append(lines, l)
		}
		pod := map[string]any{"namespace": "team", "pod": "web", "podUID": "uid-1", "serviceAccount": "default", "resource": "https://vault.azure.net"}
		want := []map[string]any{
			merge(pod, map[string]any{"outcome": "hit", "identityNamespace": "team", "identity": "blue", "clientID": "client-blue", "tokenDigest": "d1g357"}),
			merge(pod, map[string]any{"outcome": "denied", "reason": "not_bound", "error": "pod team/web is not bound to the identity that it asks for"}),
		}
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Errorf("the audit log (-want +got):\n%s", diff)
		}
		if strings.Contains(c.audit.String(), "the-token") {
			t.Error("the audit log holds the token")
		}
	})
}

func merge(parts ...map[string]any) map[string]any {
	out := map[string]any{}
	for _, m := range parts {
		maps.Copy(out, m)
	}
	return out
}

func TestNewRefusesAHoldThatClientsDoNotWaitFor(t *testing.T) {
	w := newWorld()
	_, err := nmi.New(nmi.Config{Pods: w, Tokens: w, Origins: w, Hold: time.Minute})
	if err == nil || !strings.Contains(err.Error(), "55s") {
		t.Errorf("New() = %v, want an error that names the limit", err)
	}
}
