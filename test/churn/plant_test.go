package churn_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/nodeview"
	"github.com/podid-io/podid/internal/token"
	"github.com/podid-io/podid/test/churn/model"
)

// plant is a bug that is planted, to see that it is found. The zero value is
// none.
type plant struct {
	laws []model.Law // which the model may report

	oldBoot          bool // nobody knows when the node was booted
	oneBoot          bool // the memory of one boot is that of the next
	noLinkDown       bool // nobody hears of links that go
	oneLink          bool // links are not told apart
	sourceAlone      bool // an address is believed wherever it comes by
	acrossNamespaces bool // bindings of other namespaces count
	perRequest       bool // every request is a connection of its own

	upsets int // how much more often the rare happens, in thousandths of the steps

	pods   func(*world, nmi.Pods) nmi.Pods
	tokens func(nmi.Tokens) nmi.Tokens
	encode func(object any, version int) json.RawMessage
}

// plants are the bugs, each under what it is.
func plants() map[string]*plant {
	entitled := []model.Law{model.Entitled}
	return map[string]*plant{
		"links are not told apart":                   {laws: entitled, oneLink: true},
		"a status is always evidence":                {laws: entitled, encode: alwaysNew},
		"the source address alone is believed":       {laws: entitled, sourceAlone: true},
		"what was told before a boot is believed":    {laws: entitled, oldBoot: true, upsets: 10},
		"what was remembered of a boot is believed":  {laws: entitled, oneBoot: true, upsets: 10},
		"an attached identity is an entitlement":     {laws: entitled, pods: attachedEntitles},
		"bindings of other namespaces count":         {laws: entitled, acrossNamespaces: true},
		"tokens are kept by resource alone":          {laws: entitled, tokens: byResource},
		"a pod that has ended is served":             {laws: entitled, encode: neverEnded},
		"a connection is not pinned":                 {laws: []model.Law{model.OnePod}, perRequest: true},
		"the end of a link is not heard":             {laws: []model.Law{model.Served, model.Woken}, noLinkDown: true},
		"whoever waits is not woken":                 {laws: []model.Law{model.Woken}, pods: deaf},
		"a young pod is refused as an old one is":    {laws: []model.Law{model.Final}, pods: impatient},
		"the second request is one too many":         {laws: []model.Law{model.Orderly}, tokens: busy},
		"a pod is only known when it has just begun": {laws: []model.Law{model.Served, model.Woken}, encode: neverReady},
	}
}

func (p *plant) wrapPods(w *world, v nmi.Pods) nmi.Pods {
	if p.pods == nil {
		return v
	}
	return p.pods(w, v)
}

func (p *plant) wrapTokens(t nmi.Tokens) nmi.Tokens {
	if p.tokens == nil {
		return t
	}
	return p.tokens(t)
}

// alwaysNew has every status say that the pod has just got its network.
func alwaysNew(object any, version int) json.RawMessage {
	if p, ok := object.(model.Pod); ok && p.Addr.IsValid() {
		p.Ready = time.Now().Unix()
		object = p
	}
	return encode(object, version)
}

// neverReady hides the starts of containers and of networks.
func neverReady(object any, version int) json.RawMessage {
	if p, ok := object.(model.Pod); ok {
		p.Ready, p.Started = 0, 0
		object = p
	}
	return encode(object, version)
}

// neverEnded has every pod that ends go on.
func neverEnded(object any, version int) json.RawMessage {
	if p, ok := object.(model.Pod); ok && p.Ended {
		p.Ended, p.Ready = false, time.Now().Unix()
		object = p
	}
	return encode(object, version)
}

// podsWith changes what the view finds.
type podsWith struct {
	nmi.Pods
	change  func(*nodeview.Found)
	changed func(<-chan struct{}) <-chan struct{}
}

func (p podsWith) ByIP(a netip.Addr, link int) (nodeview.Found, <-chan struct{}, error) {
	f, changed, err := p.Pods.ByIP(a, link)
	if err == nil && p.change != nil {
		p.change(&f)
	}
	if p.changed != nil {
		changed = p.changed(changed)
	}
	return f, changed, err
}

func deaf(_ *world, v nmi.Pods) nmi.Pods {
	never := make(chan struct{})
	return podsWith{Pods: v, changed: func(<-chan struct{}) <-chan struct{} { return never }}
}

func impatient(_ *world, v nmi.Pods) nmi.Pods {
	return podsWith{Pods: v, change: func(f *nodeview.Found) { f.Pod.Created = f.Pod.Created.Add(-time.Hour) }}
}

func attachedEntitles(w *world, v nmi.Pods) nmi.Pods {
	return podsWith{Pods: v, change: func(f *nodeview.Found) {
		w.api.mu.Lock()
		defer w.api.mu.Unlock()
		for _, key := range sortedKeys(w.api.told.Assigned) {
			a := w.api.told.Assigned[key]
			if a.Namespace == f.Pod.Namespace && a.PodName == f.Pod.Name && a.PodUID == f.Pod.UID && a.Usable {
				id := identity.Identity{Namespace: a.Identity.Namespace, Name: a.Identity.Name, ClientID: a.ClientID, ResourceID: a.ResourceID}
				f.Grants = append(slices.Clip(f.Grants), identity.Grant{Identity: id, Ready: true})
			}
		}
	}}
}

// cachedByResource is a cache that forgets whose its tokens are.
type cachedByResource struct {
	nmi.Tokens
	mu   sync.Mutex
	kept map[string]token.Token // guarded by mu
}

func byResource(t nmi.Tokens) nmi.Tokens {
	return &cachedByResource{Tokens: t, kept: map[string]token.Token{}}
}

func (c *cachedByResource) Cached(r *token.Request, _ token.Ask) (token.Token, token.How, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.kept[r.Resource]
	return t, token.Hit, ok
}

func (c *cachedByResource) Get(ctx context.Context, r *token.Request, a token.Ask) (token.Token, token.How, error) {
	t, how, err := c.Tokens.Get(ctx, r, a)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept[r.Resource] = t
	return t, how, err
}

// alwaysBusy turns away whoever comes.
type alwaysBusy struct{ nmi.Tokens }

func busy(t nmi.Tokens) nmi.Tokens { return alwaysBusy{t} }

func (alwaysBusy) Get(context.Context, *token.Request, token.Ask) (token.Token, token.How, error) {
	return token.Token{}, "", &token.Error{Kind: token.Busy, Err: errors.New("busy")}
}

// splitter gives the agent a new connection for each request.
type splitter struct {
	net.Listener
	inner *listener
}

// split starts a splitter; it ends with its listener.
func split(outer net.Listener, parts *sync.WaitGroup) net.Listener {
	s := &splitter{outer, listen()}
	server := &http.Server{
		Handler: s, ReadHeaderTimeout: time.Minute,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, splitter{}, c) },
	}
	parts.Go(func() { _ = server.Serve(outer) }) // ends with Close
	return s
}

func (s *splitter) Accept() (net.Conn, error) { return s.inner.Accept() }

func (s *splitter) Close() error { return errors.Join(s.Listener.Close(), s.inner.Close()) }

func (s *splitter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from, ok := r.Context().Value(splitter{}).(*wire)
	if !ok {
		return
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		far := *from
		return s.inner.dial(ctx, &far)
	}}
	again := r.Clone(r.Context())
	again.URL.Scheme, again.URL.Host = "http", "agent"
	response, err := transport.RoundTrip(again)
	if err != nil {
		return
	}
	w.WriteHeader(response.StatusCode)
	_, _ = io.Copy(w, response.Body) // who has left has left
	_ = response.Body.Close()        // read to its end
}
