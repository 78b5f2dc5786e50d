package churn_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"

	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/nodeview"
	"github.com/podid-io/podid/internal/token"
	"github.com/podid-io/podid/test/churn/model"
)

var metadata = netip.MustParseAddrPort("169.254.169.254:80")

// agent is one life of the agent under test: its HTTP edge, its view of the node
// fed by watches, and its cache of tokens.
type agent struct {
	view     *nodeview.View
	pods     *listener // where pods connect
	complete atomic.Bool
	end      func() // ends it and waits
}

// agentConfig is what lives of the agent differ in.
type agentConfig struct {
	boot   time.Time
	bootID string
	runDir string
	// managed says that all identities are on the node already.
	managed bool
	linkOf  func(netip.Addr) int
	api     *listener // of the API server
	world   *world
	plant   *plant
}

// startAgent starts a life. before is called when there is a view to tell of
// links, and nothing has been watched yet.
func startAgent(c agentConfig, before func(*nodeview.View)) (*agent, error) {
	a := &agent{pods: listen()}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return c.api.dial(ctx, &wire{remote: metadata})
	}}
	if c.plant.oneLink {
		c.linkOf = func(netip.Addr) int { return 1 }
	}
	rules := identity.Rules{ExceptionNamespaces: []string{model.ExceptionNamespace}, AcrossNamespaces: c.plant.acrossNamespaces}
	if c.plant.allExceptions {
		rules.ExceptionNamespaces = []string{identity.EveryNamespace}
	}
	view, watcher, err := nodeview.New(nodeview.Config{
		Node: nodeName, LinkOf: c.linkOf, Boot: c.boot, BootID: c.bootID, RunDir: c.runDir, Managed: c.managed, Rules: rules,
		REST:   &rest.Config{Host: "http://api", Transport: transport, QPS: -1, ContentConfig: rest.ContentConfig{ContentType: "application/json"}},
		Report: func(err error) { a.complete.Store(err == nil) },
		Log:    slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	a.view = view
	cache := token.NewCache(token.CacheConfig{Source: source{}})
	server, err := newServer(c.plant.wrapPods(c.world, view), owned{c.plant.wrapTokens(c.world, cache)}, kernel{c.linkOf, c.plant})
	if err != nil {
		return nil, err
	}
	before(view)
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	failed := make(chan error, 3)
	run := func(part func() error) { parts.Go(func() { failed <- part() }) } // ends with ctx
	run(func() error { return watcher.Run(ctx) })
	run(func() error { return cache.Run(ctx) })
	run(func() error {
		if c.plant.perRequest {
			return server.Serve(ctx, split(a.pods, &parts))
		}
		if c.plant.hangup != nil {
			return server.Serve(ctx, c.plant.hangup(a.pods))
		}
		return server.Serve(ctx, a.pods)
	})
	a.end = func() {
		cancel()
		parts.Wait()
		transport.CloseIdleConnections()
	}
	return a, nil
}

func newServer(pods nmi.Pods, tokens nmi.Tokens, origins nmi.Origins) (*nmi.Server, error) {
	metrics := nmi.NewMetrics(prometheus.NewRegistry())
	audit, err := nmi.NewAudit(nmi.AuditOff, nil, metrics)
	if err != nil {
		return nil, err
	}
	return nmi.New(nmi.Config{
		Pods: pods, Tokens: tokens, Origins: origins, Audit: audit, Metrics: metrics,
		Log: slog.New(slog.DiscardHandler), Metadata: metadata, PodRate: 1e6,
	})
}

// kernel knows where connections come from.
type kernel struct {
	linkOf func(netip.Addr) int
	plant  *plant
}

func (k kernel) Of(c net.Conn) (nmi.Origin, error) {
	w, ok := c.(*wire)
	if !ok {
		return nmi.Origin{}, fmt.Errorf("a %T is no connection of ours", c)
	}
	o := nmi.Origin{Source: w.source, Interface: w.link, RouteBack: k.linkOf(w.source), Destination: metadata}
	if k.plant.oneLink || k.plant.sourceAlone {
		o.Interface = o.RouteBack
	}
	return o, nil
}

// source makes tokens that say whose they are.
type source struct{}

func (source) Token(_ context.Context, r *token.Request) (token.Token, error) {
	now := time.Now()
	return token.Token{
		Value:     token.Secret(fmt.Sprintf("%s|%s|%s", r.ClientID, r.ResourceID, r.Resource)),
		NotBefore: now, ExpiresOn: now.Add(24 * time.Hour),
	}, nil
}

// owned adds to each token for which pod it was asked for.
type owned struct{ nmi.Tokens }

func (o owned) Cached(r *token.Request, a token.Ask) (token.Token, token.How, bool) {
	t, how, ok := o.Tokens.Cached(r, a)
	t.Value += token.Secret("|" + a.Owner)
	return t, how, ok
}

func (o owned) Get(ctx context.Context, r *token.Request, a token.Ask) (token.Token, token.How, error) {
	t, how, err := o.Tokens.Get(ctx, r, a)
	t.Value += token.Secret("|" + a.Owner)
	return t, how, err
}
