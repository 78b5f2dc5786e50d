package nmi_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/nodeview"
	"github.com/podid-io/podid/internal/token"
)

const vault = "https://vault.azure.net"

// application is an identity that signs in by a Secret.
func application(kind v1.IdentityType) identity.Grant {
	return identity.Grant{Ready: true, Identity: identity.Identity{
		Namespace: "team", Name: "app", Type: kind, ClientID: "client-app",
		Application: identity.Application{
			TenantID: "tenant-1", AuxiliaryTenantIDs: []string{"tenant-2"}, SecretNamespace: "team", SecretName: "sp",
		},
	}}
}

// secrets are the Secrets of a test.
type secrets struct {
	mu      sync.Mutex
	data    map[string]map[string][]byte // by namespace/name; guarded by mu
	changed chan struct{}                // guarded by mu
}

func newSecrets(data map[string]map[string][]byte) *secrets {
	return &secrets{data: data, changed: make(chan struct{})}
}

func (s *secrets) Get(namespace, name string) (map[string][]byte, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d, ok := s.data[namespace+"/"+name]; ok {
		return maps.Clone(d), s.changed, nil
	}
	return nil, s.changed, errors.New("there is no such Secret")
}

func (s *secrets) set(name string, data map[string][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data[name] = data
	close(s.changed)
	s.changed = make(chan struct{})
}

func authority(id identity.Identity) (string, error) {
	if id.Application.Authority != "" {
		return "", errors.New("adEndpoint https://evil.example is not allowed")
	}
	return "https://login.microsoftonline.com", nil
}

func secretOf(pairs ...string) map[string]map[string][]byte {
	d := map[string][]byte{}
	for i := 0; i < len(pairs); i += 2 {
		d[pairs[i]] = []byte(pairs[i+1])
	}
	return map[string]map[string][]byte{"team/sp": d}
}

func TestApplications(t *testing.T) {
	signIn := func(edits ...func(*token.Request)) *token.Request {
		r := &token.Request{
			Type: v1.ServicePrincipal, ClientID: "client-app", Authority: "https://login.microsoftonline.com", TenantID: "tenant-1",
			Credential: token.NewCredential("hush", "", ""), Resource: vault,
		}
		for _, e := range edits {
			e(r)
		}
		return r
	}
	tests := map[string]struct {
		grant      identity.Grant
		data       map[string]map[string][]byte
		query      string
		wantStatus int
		wantText   string
		wantAsked  *token.Request
	}{
		"a secret under its name": {grant: application(1), data: secretOf("clientSecret", "hush", "other", "x"), wantStatus: 200, wantAsked: signIn()},
		"the only key of a secret": {
			grant: application(1), data: secretOf("whatever", "hush"), wantStatus: 200, wantAsked: signIn(),
		},
		"several keys and none of the name": {grant: application(1), data: secretOf("a", "hush", "b", "hush"), wantStatus: 400, wantText: `has no key "clientSecret"`},
		"an empty secret":                   {grant: application(1), data: secretOf("clientSecret", ""), wantStatus: 400, wantText: "is empty"},
		"no secret for the whole hold":      {grant: application(1), wantStatus: 404, wantText: "secret team/sp: there is no such Secret"},
		"a certificate and its password":    {grant: application(2), data: secretOf("certificate", "pfx", "password", "pw"), wantStatus: 200, wantAsked: signIn(func(r *token.Request) { r.Type, r.Credential = 2, token.NewCredential("", "pfx", "pw") })},
		"a certificate under another name":  {grant: application(2), data: secretOf("tls.crt", "pem"), wantStatus: 400, wantText: `has no key "certificate"`},
		"an auxiliary tenant, asked for":    {grant: application(1), data: secretOf("k", "hush"), query: "&tenant_id=TENANT-2", wantStatus: 200, wantAsked: signIn(func(r *token.Request) { r.TenantID = "tenant-2" })},
		"a tenant that is none of its":      {grant: application(1), data: secretOf("k", "hush"), query: "&tenant_id=tenant-3", wantStatus: 400, wantText: "neither the tenant"},
		"a client that takes claims":        {grant: application(1), data: secretOf("k", "hush"), query: "&xms_cc=CP1,other", wantStatus: 200, wantAsked: signIn(func(r *token.Request) { r.Capabilities = "cp1" })},
		"an authority that is not allowed":  {grant: evil(), data: secretOf("k", "hush"), wantStatus: 400, wantText: "https://evil.example is not allowed"},
		"a type that nobody knows":          {grant: application(7), data: secretOf("k", "hush"), wantStatus: 400, wantText: "is not served"},
		"a tenant for a managed identity":   {grant: identity.Grant{Ready: true, Identity: identity.Identity{ClientID: "client-blue"}}, query: "&tenant_id=x", wantStatus: 200, wantAsked: &token.Request{ClientID: "client-blue", Resource: vault}},
		"a hash that is no hash":            {grant: application(1), data: secretOf("k", "hush"), query: "&token_sha256_to_refresh=abc", wantStatus: 400, wantText: "no SHA-256"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.found.Grants = []identity.Grant{tc.grant}
				c := serve(t, w, nmi.Controller{}, func(c *nmi.Config) {
					c.Secrets, c.Application = newSecrets(tc.data), authority
				})
				status, body := c.get(t, ask+tc.query)
				if status != tc.wantStatus || !strings.Contains(body["error_description"], tc.wantText) {
					t.Errorf("answered %d %v, want %d and %q", status, body, tc.wantStatus, tc.wantText)
				}
				var want []token.Request
				if tc.wantAsked != nil {
					want = append(want, *tc.wantAsked)
				}
				if diff := cmp.Diff(want, w.requests(), cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("asked of the source (-want +got):\n%s", diff)
				}
				if strings.Contains(c.audit.String(), "hush") {
					t.Error("the audit log holds the secret")
				}
			})
		})
	}
}

func evil() identity.Grant {
	g := application(1)
	g.Identity.Application.Authority = "https://evil.example"
	return g
}

func TestRequestWaitsForItsSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.found.Grants = []identity.Grant{application(1)}
		s := newSecrets(map[string]map[string][]byte{})
		c := serve(t, w, nmi.Controller{}, func(c *nmi.Config) { c.Secrets, c.Application = s, authority })
		go func() {
			time.Sleep(7 * time.Second)
			s.set("team/sp", map[string][]byte{"clientSecret": []byte("hush")})
		}()
		start := time.Now()
		if status, body := c.get(t, ask); status != 200 || time.Since(start) != 7*time.Second {
			t.Errorf("answered %d %v after %s, want the token as soon as there is a Secret", status, body, time.Since(start))
		}
	})
}

func TestObjectIDIsLearntFromTheToken(t *testing.T) {
	tests := map[string]struct {
		objectID   string
		world      func(*fakeWorld)
		wantStatus int
		wantClient string
	}{
		"of the first identity":  {objectID: "OID-BLUE", wantStatus: 200, wantClient: "client-blue"},
		"of the second identity": {objectID: "oid-red", wantStatus: 200},
		"of no identity":         {objectID: "oid-green", wantStatus: 400},
		"never by a guess where the AzureIdentity says another": {
			objectID: "oid-blue", world: func(f *fakeWorld) { f.found.Grants[0].Identity.ObjectID = "other" }, wantStatus: 400,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.found.Pod.Created = time.Now().Add(-time.Hour)
				w.objectIDs = map[string]string{"client-blue": "oid-blue", "/red": "oid-red"}
				if tc.world != nil {
					tc.world(w)
				}
				c := serve(t, w, nmi.Controller{})
				status, body := c.get(t, ask+"&object_id="+tc.objectID)
				if status != tc.wantStatus || body["client_id"] != tc.wantClient {
					t.Errorf("answered %d %v, want %d and client_id %q", status, body, tc.wantStatus, tc.wantClient)
				}
			})
		})
	}
}

// TestObjectIDIsNotHiddenByWhatIsMissing asks for an identity behind others that
// have to be waited for.
func TestObjectIDIsNotHiddenByWhatIsMissing(t *testing.T) {
	notReady := identity.Grant{Identity: identity.Identity{Namespace: "team", Name: "later", ClientID: "client-later"}}
	tests := map[string]struct {
		first   []identity.Grant
		how     token.How
		arrives bool // the Secret of the first, by which its token can be had
		asks    string
		want    int
		wantFor time.Duration
	}{
		"behind one without its Secret":     {first: []identity.Grant{application(1)}, how: token.Hit, asks: "oid-red", want: 200},
		"behind one that is on its way":     {first: []identity.Grant{notReady}, how: token.Hit, asks: "oid-red", want: 200},
		"behind both, and none is cached":   {first: []identity.Grant{application(1), notReady}, how: token.Miss, asks: "oid-red", want: 200},
		"none, and a Secret is missing":     {first: []identity.Grant{application(1)}, how: token.Miss, asks: "oid-green", want: 404, wantFor: nmi.DefaultHold},
		"the one whose Secret comes":        {first: []identity.Grant{application(1)}, how: token.Miss, arrives: true, asks: "oid-app", want: 200, wantFor: 7 * time.Second},
		"none, and all tokens could be had": {how: token.Miss, asks: "oid-green", want: 400},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.how = tc.how
				w.found.Pod.Created = time.Now().Add(-time.Hour)
				w.found.Grants = append(tc.first, w.found.Grants...)
				w.objectIDs = map[string]string{"client-blue": "oid-blue", "/red": "oid-red", "client-app": "oid-app"}
				s := newSecrets(map[string]map[string][]byte{})
				c := serve(t, w, nmi.Controller{}, func(c *nmi.Config) { c.Secrets, c.Application = s, authority })
				if tc.arrives {
					time.AfterFunc(7*time.Second, func() { s.set("team/sp", map[string][]byte{"clientSecret": []byte("hush")}) })
				}
				start := time.Now()
				status, body := c.get(t, ask+"&object_id="+tc.asks)
				if took := time.Since(start); status != tc.want || took != tc.wantFor {
					t.Errorf("answered %d %v after %s, want %d after %s", status, body, took, tc.want, tc.wantFor)
				}
			})
		})
	}
}

// fullSecrets has no room for one more until free is closed.
type fullSecrets struct {
	*secrets
	free chan struct{}
}

func (s fullSecrets) Get(namespace, name string) (map[string][]byte, <-chan struct{}, error) {
	select {
	case <-s.free:
		return s.secrets.Get(namespace, name)
	default:
		return nil, s.free, nodeview.ErrTooManySecrets
	}
}

func TestRequestWaitsForRoomForItsSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.found.Grants = []identity.Grant{application(1)}
		full := fullSecrets{newSecrets(secretOf("clientSecret", "hush")), make(chan struct{})}
		c := serve(t, w, nmi.Controller{}, func(c *nmi.Config) { c.Secrets, c.Application = full, authority })
		time.AfterFunc(9*time.Second, func() { close(full.free) })
		start := time.Now()
		if status, body := c.get(t, ask); status != 200 || time.Since(start) != 9*time.Second {
			t.Errorf("answered %d %v after %s, want the token as soon as there is room", status, body, time.Since(start))
		}
	})
}

func TestExceptionsReachTheMetadataService(t *testing.T) {
	tests := map[string]struct {
		query string
		want  token.Request
	}{
		"the identity of the VM":         {"", token.Request{VM: true, Resource: vault}},
		"an identity by client id":       {"&client_id=ANY", token.Request{ClientID: "any", Resource: vault}},
		"an identity by object id":       {"&principal_id=ANY", token.Request{ObjectID: "any", Resource: vault}},
		"an identity by its ARM id":      {"&mi_res_id=/ANY", token.Request{ResourceID: "/any", Resource: vault}},
		"an identity by .NET's spelling": {"&msi-res-id=/ANY", token.Request{ResourceID: "/any", Resource: vault}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.found.Exception = &identity.Exception{Namespace: "kube-system", Name: "addons"}
				c := serve(t, w, nmi.Controller{})
				if status, body := c.get(t, ask+tc.query); status != 200 {
					t.Errorf("answered %d %v", status, body)
				}
				if diff := cmp.Diff([]token.Request{tc.want}, w.requests()); diff != "" {
					t.Errorf("asked of the source (-want +got):\n%s", diff)
				}
				if !strings.Contains(c.audit.String(), `"reason":"exception"`) || !strings.Contains(c.audit.String(), `"identity":"addons"`) {
					t.Errorf("the audit log does not say that it was an exception: %s", c.audit)
				}
			})
		})
	}
}

// events are those that nmi made.
type events struct {
	mu   sync.Mutex
	list []string // guarded by mu
}

func (e *events) Warn(pod identity.Pod, reason, message string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, pod.Name+" "+reason+": "+message)
}

func TestEventsTellOfRefusalsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e := newWorld(), &events{}
		w.found.Pod.Created = time.Now().Add(-time.Hour)
		c := serve(t, w, nmi.Controller{}, func(c *nmi.Config) { c.Events = e })
		for range 5 {
			c.get(t, ask+"&client_id=client-green")
		}
		c.get(t, ask)
		w.change(func(f *fakeWorld) { f.found.Grants[0].Ready = false })
		c.get(t, ask)
		time.Sleep(6 * time.Minute)
		c.get(t, ask+"&client_id=client-green")
		want := []string{
			"web IdentityDenied: pod team/web is not bound to the identity that it asks for",
			"web IdentityNotReady: the identity team/blue is on its way to this node; try again",
			"web IdentityDenied: pod team/web is not bound to the identity that it asks for",
		}
		if diff := cmp.Diff(want, e.list); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

// TestAListKeepsAPodOut is final for an old pod. A young one is told of the list too,
// and to try again: the list may be widened a moment later.
func TestAListKeepsAPodOut(t *testing.T) {
	const words = "pod team/web of service account default may not use the identity that it is bound to: spec.allowedServiceAccounts of AzureIdentity team/blue does not name it"
	tests := map[string]struct {
		age    time.Duration
		status int
		event  string
	}{
		"an old pod":  {time.Hour, 400, "web IdentityDenied: " + words},
		"a young pod": {0, 404, "web IdentityNotReady: " + words + " yet; try again"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w, e := newWorld(), &events{}
			w.found.Pod.Created = time.Now().Add(-tc.age)
			w.found.Barred = []identity.Barred{{Grant: w.found.Grants[0], By: "spec.allowedServiceAccounts of AzureIdentity team/blue"}}
			w.found.Grants = nil
			c := serve(t, w, nmi.Controller{}, func(c *nmi.Config) { c.Events = e })
			for _, query := range []string{"", "&client_id=client-blue"} {
				status, body := c.get(t, ask+query)
				if final := strings.Contains(body["error_description"], "Identity not found"); status != tc.status || final != (tc.status == 400) {
					t.Errorf("%q: %d %s, want %d", query, status, body, tc.status)
				}
			}
			if diff := cmp.Diff([]string{tc.event}, e.list); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEventsFitTheAPIServer has Azure refuse with more words than an Event takes.
func TestEventsFitTheAPIServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e := newWorld(), &events{}
		w.err = &token.Error{Kind: token.Rejected, Err: errors.New(strings.Repeat("ä", 900))}
		c := serve(t, w, nmi.Controller{}, func(c *nmi.Config) { c.Events = e })
		c.get(t, ask)
		note, ok := strings.CutPrefix(e.list[0], "web IdentityDenied: ")
		if !ok || len(note) > 1000 || len(note) < 990 || !utf8.ValidString(note) {
			t.Errorf("a note of %d bytes, want at most 1,000 and no half letters: %q", len(note), note)
		}
	})
}

func TestPrefetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.found.Prefetch = []string{vault, "https://management.azure.com/"}
		w.found.Grants = w.found.Grants[:1]
		w.found.Grants[0].Ready = false
		s := newServer(t, w)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Prefetch(ctx) }()
		synctest.Wait()
		if len(w.ahead) > 0 {
			t.Errorf("tokens of an identity that is not there yet were asked for: %v", w.ahead)
		}
		for range 3 { // once, however often the view changes
			w.change(func(f *fakeWorld) {
				f.found.Grants = []identity.Grant{{Identity: f.found.Grants[0].Identity, Ready: true}}
			})
			time.Sleep(time.Second)
		}
		want := []token.Request{{ClientID: "client-blue", Resource: vault}, {ClientID: "client-blue", Resource: "https://management.azure.com/"}}
		less := func(a, b token.Request) bool { return a.Resource < b.Resource }
		if diff := cmp.Diff(want, w.ahead, cmpopts.SortSlices(less)); diff != "" {
			t.Errorf("prefetched (-want +got):\n%s", diff)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
