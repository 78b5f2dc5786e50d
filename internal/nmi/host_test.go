package nmi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/imds"
	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/nodeview"
)

// node is the kernel as it tells of processes of the node.
type node struct {
	local bool
	uid   uint32
	err   error
}

func (n node) OfLoopback(net.Conn) (bool, error) { return n.local, nil }
func (n node) PeerUID(net.Conn) (uint32, error)  { return n.uid, n.err }

// serveHost is serve for the processes of the node.
func serveHost(t *testing.T, w *fakeWorld, n node) (client, *lockedBuffer) {
	t.Helper()
	audit := &lockedBuffer{}
	s := newServer(t, w, func(c *nmi.Config) { c.Host = n }, auditTo(t, audit))
	l := newPipeListener()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.ServeHost(ctx, l) }()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.dial(ctx) }}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("ServeHost() = %v", err)
		}
	})
	return client{http: &http.Client{Transport: tr}}, audit
}

func TestHostToken(t *testing.T) {
	root := node{local: true}
	tests := map[string]struct {
		path          string
		namespace     string
		pod           string
		node          node
		world         func(*fakeWorld)
		wantStatus    int
		wantText      string
		wantForClient string
	}{
		"the provider's request": {path: "/host/token/?resource=https://vault.azure.net", namespace: "team", pod: "web", node: root, wantStatus: 200, wantForClient: "client-blue"},
		"without the slash":      {path: "/host/token?resource=https://vault.azure.net", namespace: "team", pod: "web", node: root, wantStatus: 200, wantForClient: "client-blue"},
		"another user":           {path: "/host/token/?resource=r", namespace: "team", pod: "web", node: node{local: true, uid: 1000}, wantStatus: 403, wantText: "only root"},
		"a user that cannot be told": {
			path: "/host/token/?resource=r", namespace: "team", pod: "web", node: node{local: true, err: errors.New("gone")}, wantStatus: 403, wantText: "only root",
		},
		"by another interface":  {path: "/host/token/?resource=r", namespace: "team", pod: "web", node: node{}, wantStatus: 403, wantText: "loopback"},
		"no pod named":          {path: "/host/token/?resource=r", namespace: "team", node: root, wantStatus: 400, wantText: "missing 'podname' and 'podns'"},
		"no resource":           {path: "/host/token/", namespace: "team", pod: "web", node: root, wantStatus: 400, wantText: "'resource' is missing"},
		"a pod of another node": {path: "/host/token/?resource=r", namespace: "team", pod: "db", node: root, wantStatus: 404, wantText: "no running pod"},
		"a pod without such a volume": {
			path: "/host/token/?resource=r", namespace: "team", pod: "web", node: root,
			world: func(f *fakeWorld) { f.found.SecretsStore = false }, wantStatus: 400, wantText: "mounts no volume",
		},
		"the pods' own path": {path: ask, namespace: "team", pod: "web", node: root, wantStatus: 404, wantText: "not found"},
		"metadata":           {path: "/metadata/instance?api-version=2021-02-01", namespace: "team", pod: "web", node: root, wantStatus: 404, wantText: "not found"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.found.SecretsStore = true
				if tc.world != nil {
					tc.world(w)
				}
				c, audit := serveHost(t, w, tc.node)
				status, body := c.asHost(t, tc.path, tc.namespace, tc.pod)
				if status != tc.wantStatus || !strings.Contains(string(body), tc.wantText) {
					t.Fatalf("answered %d %s, want %d and %q", status, body, tc.wantStatus, tc.wantText)
				}
				if status != 200 {
					return
				}
				var got struct {
					Token    map[string]string `json:"token"` // numbers as strings
					ClientID string            `json:"clientid"`
				}
				if err := json.Unmarshal(body, &got); err != nil {
					t.Fatalf("%s: %v", body, err)
				}
				for _, name := range []string{"access_token", "expires_in", "expires_on", "not_before", "resource", "token_type"} {
					if got.Token[name] == "" {
						t.Errorf("the answer lacks %s: %s", name, body)
					}
				}
				if got.ClientID != tc.wantForClient || len(got.Token) != 7 {
					t.Errorf("the answer is %s, want NMI's seven fields and clientid %q", body, tc.wantForClient)
				}
				if !strings.Contains(audit.String(), `"onHost":true`) {
					t.Errorf("the audit log does not say that the node asked: %s", audit)
				}
			})
		})
	}
}

func TestHostTokenExpiresFromItsAnswerOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.found.SecretsStore = true
		w.found.Grants[0].Ready = false
		c, _ := serveHost(t, w, node{local: true})
		go func() {
			time.Sleep(40 * time.Second)
			w.change(func(f *fakeWorld) {
				f.found.Grants = []identity.Grant{{Identity: f.found.Grants[0].Identity, Ready: true}}
			})
		}()
		status, body := c.asHost(t, "/host/token/?resource=r", "team", "web")
		want := fmt.Sprintf(`"expires_in":"%d"`, time.Until(w.token.ExpiresOn)/time.Second)
		if status != 200 || !strings.Contains(string(body), want) {
			t.Errorf("answered %d %s, want a token with %s", status, body, want)
		}
	})
}

// asHost asks as the Key Vault CSI provider does.
func (c client) asHost(t *testing.T, path, namespace, pod string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://localhost:2579"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("podns", namespace)
	req.Header.Set("podname", pod)
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

// upstream is the real metadata service of a test.
type upstream struct {
	asked []string
	body  string
}

func (u *upstream) Metadata(_ context.Context, path string, query url.Values) (imds.Answer, error) {
	u.asked = append(u.asked, path+"?"+query.Encode())
	return imds.Answer{Status: 200, ContentType: "application/json", Body: []byte(u.body)}, nil
}

func (*upstream) Tenant(context.Context) (string, error) { return "tenant-of-the-vm", nil }

func TestPassThrough(t *testing.T) {
	const instance = `{"compute":{"name":"vm","userData":"c2VjcmV0","customData":"c2VjcmV0"}}`
	tests := map[string]struct {
		families   []imds.Family
		path       string
		world      func(*fakeWorld)
		wantStatus int
		wantBody   string
		wantAsked  []string
	}{
		"nothing by default": {path: "/metadata/instance?api-version=2021-02-01", wantStatus: 403, wantBody: "--pass-through"},
		"instance, without user data": {
			families: []imds.Family{imds.Instance}, path: "/metadata/instance?api-version=2021-02-01&x=y",
			wantStatus: 200, wantBody: `{"compute":{"customData":"","name":"vm","userData":""}}`, wantAsked: []string{"/metadata/instance?api-version=2021-02-01"},
		},
		"user data by its own path": {
			families: []imds.Family{imds.Instance}, path: "/metadata/instance/compute/userData?api-version=2021-02-01&format=text", wantStatus: 403,
		},
		"user data, allowed": {
			families: []imds.Family{imds.UserData}, path: "/metadata/instance//compute/userData/?api-version=2021-02-01&format=text",
			wantStatus: 200, wantBody: instance, wantAsked: []string{"/metadata/instance/compute/userdata?api-version=2021-02-01&format=text"},
		},
		"attested is apart":     {families: []imds.Family{imds.Instance, imds.Versions}, path: "/metadata/attested/document?api-version=2021-02-01", wantStatus: 403},
		"the identity, never":   {families: imds.Families(), path: "/metadata/identity/oauth2?api-version=2021-02-01", wantStatus: 404},
		"an unknown family":     {families: imds.Families(), path: "/metadata/secrets?api-version=2021-02-01", wantStatus: 404},
		"a doubled parameter":   {families: imds.Families(), path: "/metadata/instance?api-version=1&API-VERSION=2", wantStatus: 400, wantBody: "given twice"},
		"who is no pod of ours": {families: imds.Families(), path: "/metadata/instance?api-version=1", world: func(f *fakeWorld) { f.viewErr = nodeview.ErrUnknown }, wantStatus: 404},
		"by another interface":  {families: imds.Families(), path: "/metadata/instance?api-version=1", world: func(f *fakeWorld) { f.origin.Interface = 8 }, wantStatus: 400},
		"the tenant of the identity": {
			path: "/metadata/identity/info?api-version=2018-02-01", wantStatus: 200, wantBody: `{"tenantId":"tenant-of-the-vm"}`,
		},
		"no tenant without identity": {
			path: "/metadata/identity/info?api-version=2018-02-01", wantStatus: 400, wantBody: "no label",
			world: func(f *fakeWorld) { f.found.Pod.Selector, f.found.Grants = "", nil },
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, up := newWorld(), &upstream{body: instance}
				if tc.world != nil {
					tc.world(w)
				}
				c := serve(t, w, nmi.Controller{}, func(c *nmi.Config) { c.Upstream, c.PassThrough = up, tc.families })
				status, body := c.raw(t, tc.path)
				if status != tc.wantStatus || !strings.Contains(string(body), tc.wantBody) {
					t.Errorf("answered %d %s, want %d and %s", status, body, tc.wantStatus, tc.wantBody)
				}
				if diff := cmp.Diff(tc.wantAsked, up.asked); diff != "" {
					t.Errorf("passed on (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestOneAddressWaitsForItsOwnTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		c := serve(t, w, nmi.Controller{}, func(c *nmi.Config) { c.PodRate = 10 })
		start := time.Now()
		for range 57 { // on one connection, which costs three more
			if status, body := c.get(t, ask); status != 200 {
				t.Fatalf("answered %d %v: who asks too often waits", status, body)
			}
		}
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("57 requests took %s, want 5s at 10 a second", took)
		}
	})
}
