package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/podid-io/podid/internal/entra"
	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/nodeview"
	"github.com/podid-io/podid/internal/redirect"
	"github.com/podid-io/podid/internal/telemetry"
	"github.com/podid-io/podid/internal/token"
)

// Names of the readiness checks.
const (
	checkView     = "node-view"
	checkRedirect = "redirect"
	checkListener = "listener"
)

var errStarting = errors.New("starting")

// origins gives nmi what the kernel knows, in nmi's words.
type origins struct{ *redirect.Origins }

func (o origins) Of(c net.Conn) (nmi.Origin, error) {
	origin, err := o.Origins.Of(c)
	return nmi.Origin(origin), err
}

// agent is nmi put together.
type agent struct {
	log      *slog.Logger
	health   *telemetry.Health
	view     *nodeview.View
	watcher  *nodeview.Watcher
	redirect *redirect.Redirect // nil with --redirect=none
	server   *nmi.Server
	audit    *nmi.Audit
	tokens   *token.Cache
	registry *prometheus.Registry
	listen   netip.AddrPort
}

// run makes an agent and runs it until ctx ends.
func (o *options) run(ctx context.Context) error {
	p, err := o.parse()
	if err != nil {
		return err
	}
	log, err := telemetry.NewLogger(os.Stderr, o.logLevel, o.logFormat)
	if err != nil {
		return err
	}
	telemetry.Bridge(log)
	sink, err := o.openAudit()
	if err != nil {
		return err
	}
	defer func() { _ = sink.Close() }() // flushed when the audit ended
	kernel, err := redirect.NewOrigins(redirect.OriginsConfig{Metadata: p.metadata.Addr()})
	if err != nil {
		return err
	}
	defer kernel.Close()
	a := &agent{
		log: log, listen: p.listen,
		health:   telemetry.NewHealth(checkView, checkListener),
		registry: prometheus.NewRegistry(),
	}
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if p.redirects {
		if a.redirect, err = redirect.New(redirect.Config{
			Metadata: p.metadata, Listen: p.listen, Interval: o.redirectInterval, Log: log,
			Report: a.report(checkRedirect),
		}); err != nil {
			return err
		}
		a.health.Set(checkRedirect, errStarting)
	}
	if err := a.build(o, p, sink, origins{kernel}); err != nil {
		return err
	}
	log.InfoContext(ctx, "nmi starts", "version", telemetry.Version(), "node", o.node, "listen", p.listen.String(), "redirect", o.redirect)
	return a.run(ctx, o)
}

// build puts the rooms together: view, source, cache, server.
func (a *agent) build(o *options, p parsed, sink io.Writer, kernel origins) error {
	boot, err := redirect.BootTime()
	if err != nil {
		return err
	}
	view, watcher, err := nodeview.New(nodeview.Config{
		Node: o.node, REST: p.rest, Log: a.log, LinkOf: kernel.LinkOf, Boot: boot,
		Rules:  identity.Rules{AcrossNamespaces: o.acrossNamespaces},
		Report: a.report(checkView),
	})
	if err != nil {
		return err
	}
	a.view, a.watcher = view, watcher
	source, err := entra.NewIMDS(entra.IMDSConfig{Endpoint: p.imdsEndpoint})
	if err != nil {
		return err
	}
	metrics := nmi.NewMetrics(a.registry)
	if a.audit, err = nmi.NewAudit(nmi.AuditMode(o.audit), sink, metrics); err != nil {
		return err
	}
	a.tokens = token.NewCache(token.CacheConfig{Source: source})
	config := nmi.Config{
		Pods: view, Tokens: a.tokens, Origins: kernel,
		Audit: a.audit, Metrics: metrics, Log: a.log, Hold: o.hold,
		Controller: nmi.Controller{
			Namespace: p.micNamespace, ServiceAccount: p.micAccount,
			ClientID: p.micClient, VM: p.micVM, Resources: trimSlashes(o.armResources),
		},
	}
	if p.redirects {
		config.Metadata = p.metadata
	}
	a.server, err = nmi.New(config)
	return err
}

// run serves until ctx ends or a part fails for good.
func (a *agent) run(ctx context.Context, o *options) error {
	// The audit and the cache end when everybody has been answered, not before.
	var behind sync.WaitGroup
	behindCtx, end := context.WithCancel(context.WithoutCancel(ctx))
	behind.Go(func() { a.audit.Run(behindCtx) })
	behind.Go(func() { _ = a.tokens.Run(behindCtx) }) // only the context ends it
	defer func() { end(); behind.Wait() }()
	g, ctx := errgroup.WithContext(ctx)
	linksKnown := make(chan struct{})
	g.Go(func() error {
		return redirect.FollowLinks(ctx, a.view, func() { close(linksKnown) }, a.log)
	})
	g.Go(func() error {
		select {
		case <-linksKnown: // what there is before us, before anybody is believed
			return a.watcher.Run(ctx)
		case <-ctx.Done():
			return nil
		}
	})
	g.Go(func() error {
		l, err := a.awaitListener(ctx)
		if err != nil {
			return nil //nolint:nilerr // only ctx ends the wait
		}
		if a.redirect != nil { // only now: nobody is sent to a closed port
			g.Go(func() error { return a.redirect.Run(ctx) })
		}
		return a.server.Serve(ctx, l)
	})
	health := http.NewServeMux()
	a.health.Register(health)
	g.Go(func() error { return telemetry.Serve(ctx, "health", o.healthListen, health, a.log) })
	metrics := http.NewServeMux()
	metrics.Handle("GET /metrics", promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{}))
	g.Go(func() error { return telemetry.Serve(ctx, "metrics", o.metricsListen, metrics, a.log) })
	return g.Wait()
}

// awaitListener listens for pods. What stands in the way (an address that
// cannot be set, a port in use) turns readiness red and is tried again.
func (a *agent) awaitListener(ctx context.Context) (net.Listener, error) {
	report := a.report(checkListener)
	for wait := 500 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		l, err := a.tryListen(ctx)
		report(err)
		if err == nil {
			return l, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

func (a *agent) tryListen(ctx context.Context) (net.Listener, error) {
	if a.redirect != nil {
		if err := a.redirect.EnsureAddress(); err != nil {
			return nil, err
		}
	}
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp4", a.listen.String())
}

// report records a check and logs each change of it once.
func (a *agent) report(check string) func(error) {
	return func(err error) {
		if !a.health.Set(check, err) {
			return
		}
		if err != nil {
			a.log.Warn("not ready", "check", check, "err", err)
			return
		}
		a.log.Info("ready", "check", check)
	}
}

func (o *options) uninstallRedirect() error {
	p, err := o.parseRedirect()
	if err != nil {
		return err
	}
	r, err := redirect.New(redirect.Config{Metadata: p.metadata, Listen: p.listen, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	return r.Remove()
}

func trimSlashes(list []string) []string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		out = append(out, strings.TrimRight(s, "/"))
	}
	return out
}
