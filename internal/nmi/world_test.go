package nmi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/nodeview"
	"github.com/podid-io/podid/internal/redirect"
	"github.com/podid-io/podid/internal/token"
)

var (
	podAddr  = netip.MustParseAddr("10.224.4.10")
	metadata = redirect.DefaultMetadata
)

// fakeWorld is the view, the source and the kernel of a test.
type fakeWorld struct {
	mu      sync.Mutex
	found   nodeview.Found  // guarded by mu
	viewErr error           // guarded by mu
	changed chan struct{}   // guarded by mu
	token   token.Token     // guarded by mu
	how     token.How       // guarded by mu
	err     error           // guarded by mu
	asked   []token.Request // guarded by mu
	origin  nmi.Origin      // guarded by mu
	ahead   []token.Request // prefetched; guarded by mu
	asks    []token.Ask     // of Get; guarded by mu
	block   chan struct{}   // Get waits for it; guarded by mu

	objectIDs map[string]string // by client or resource id
	placeErr  error             // why the pod is not known by its address
	survey    error             // why the network does not keep it apart
}

func newWorld() *fakeWorld {
	return &fakeWorld{
		found: nodeview.Found{
			Pod: identity.Pod{Namespace: "team", Name: "web", UID: "uid-1", Selector: "web", ServiceAccount: "default", Created: time.Now()},
			Grants: []identity.Grant{
				{Identity: identity.Identity{Namespace: "team", Name: "blue", ClientID: "client-blue"}, Ready: true},
				{Identity: identity.Identity{Namespace: "team", Name: "red", ResourceID: "/red"}, Ready: true},
			},
		},
		changed: make(chan struct{}),
		token:   token.Token{Value: "the-token", NotBefore: time.Now(), ExpiresOn: time.Now().Add(24 * time.Hour), Digest: "d1g357"},
		how:     token.Hit,
		origin:  nmi.Origin{Source: podAddr, Interface: 7, RouteBack: 7, Destination: metadata},
	}
}

func (f *fakeWorld) ByIP(a netip.Addr, link int) (nodeview.Found, <-chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if (a != podAddr || link != 7) && f.viewErr == nil {
		return nodeview.Found{}, f.changed, nodeview.ErrUnknown
	}
	return f.found, f.changed, f.viewErr
}

func (f *fakeWorld) ByName(namespace, name string) (nodeview.Found, <-chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if (namespace != f.found.Pod.Namespace || name != f.found.Pod.Name) && f.viewErr == nil {
		return nodeview.Found{}, f.changed, nodeview.ErrUnknown
	}
	return f.found, f.changed, f.viewErr
}

func (f *fakeWorld) All() ([]nodeview.Found, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return []nodeview.Found{f.found}, f.changed
}

// Cached has a token that the source would give at once.
func (f *fakeWorld) Cached(r *token.Request, _ token.Ask) (token.Token, token.How, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil || f.how != token.Hit {
		return token.Token{}, "", false
	}
	f.asked = append(f.asked, *r)
	return f.tokenOf(r), f.how, true
}

func (f *fakeWorld) Get(ctx context.Context, r *token.Request, a token.Ask) (token.Token, token.How, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, *r)
	f.asks = append(f.asks, a)
	if f.block != nil {
		f.mu.Unlock()
		select {
		case <-f.block:
		case <-ctx.Done():
		}
		f.mu.Lock()
	}
	return f.tokenOf(r), f.how, f.err
}

func (f *fakeWorld) Prefetch(_ context.Context, r *token.Request) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ahead = append(f.ahead, *r)
	return f.err
}

// tokenOf is the token, with the object id of its identity if there is one.
// f.mu is held.
func (f *fakeWorld) tokenOf(r *token.Request) token.Token {
	t := f.token
	t.ObjectID = f.objectIDs[r.ClientID+r.ResourceID]
	return t
}

func (f *fakeWorld) Of(net.Conn) (nmi.Origin, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.origin, nil
}

// change changes the world and wakes who waits.
func (f *fakeWorld) change(how func(*fakeWorld)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	how(f)
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeWorld) requests() []token.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]token.Request(nil), f.asked...)
}

// lockedBuffer is an audit sink that can be read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	b   bytes.Buffer // guarded by mu
	err error        // guarded by mu
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return 0, l.err
	}
	return l.b.Write(p)
}

// fail makes every Write fail.
func (l *lockedBuffer) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// client talks to a server of the world over an in-memory connection, so that
// synctest knows when everybody waits.
type client struct {
	http  *http.Client
	audit *lockedBuffer
	dial  func(context.Context) (net.Conn, error)
}

func serve(t *testing.T, w *fakeWorld, controller nmi.Controller, edits ...func(*nmi.Config)) client {
	t.Helper()
	l := newPipeListener()
	edits = append([]func(*nmi.Config){func(c *nmi.Config) { c.Controller = controller }}, edits...)
	return serveOn(t, w, l, l.dial, edits...)
}

// serveOn is serve on a listener that is reached by dial.
func serveOn(t *testing.T, w *fakeWorld, l net.Listener, dial func(context.Context) (net.Conn, error), edits ...func(*nmi.Config)) client {
	t.Helper()
	audit := &lockedBuffer{}
	s := newServer(t, w, append([]func(*nmi.Config){auditTo(t, audit)}, edits...)...)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve() = %v", err)
		}
	})
	return client{http: &http.Client{Transport: tr}, audit: audit, dial: dial}
}

// auditTo has every line written to sink at once.
func auditTo(t *testing.T, sink io.Writer) func(*nmi.Config) {
	t.Helper()
	return func(c *nmi.Config) {
		var err error
		if c.Audit, err = nmi.NewAudit(nmi.AuditSync, sink, c.Metrics); err != nil {
			t.Fatal(err)
		}
	}
}

// newServer makes a server of the world.
func newServer(t *testing.T, w *fakeWorld, edits ...func(*nmi.Config)) *nmi.Server {
	t.Helper()
	config := nmi.Config{
		Pods: w, Tokens: w, Origins: w, Metrics: nmi.NewMetrics(prometheus.NewRegistry()),
		Log: slog.New(slog.DiscardHandler), Metadata: metadata,
	}
	auditTo(t, io.Discard)(&config)
	for _, e := range edits {
		e(&config)
	}
	s, err := nmi.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// get asks for path, as SDKs do, and returns the status and the JSON body.
func (c client) get(t *testing.T, path string) (int, map[string]string) {
	t.Helper()
	status, raw := c.raw(t, path)
	var body map[string]string
	if err := json.Unmarshal(raw, &body); err != nil {
		t.Fatalf("the answer is not IMDS-shaped JSON: %s", raw)
	}
	return status, body
}

// raw is get without a look at the body.
func (c client) raw(t *testing.T, path string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://169.254.169.254"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Metadata", "true")
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

const ask = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"

// pipeListener is a listener whose connections are net.Pipes.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }
