package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/nodeview"
	"github.com/podid-io/podid/internal/redirect"
	"github.com/podid-io/podid/internal/taint"
	"github.com/podid-io/podid/internal/telemetry"
	"github.com/podid-io/podid/internal/token"
)

// Names of the readiness checks.
const (
	checkView     = "node-view"
	checkRedirect = "redirect"
	checkCanary   = "canary"
	checkNetwork  = "pod-network"
	checkListener = "listener"
)

var errStarting = errors.New("starting")

// servedPause is how often an agent that waits for its turn looks whether the
// other is still there.
const servedPause = 2 * time.Second

// drainPause is how long an agent that stops accepts what was on its way to it
// when new connections were led elsewhere, or held off, and has connections that
// are kept close with an answer: to close one in silence could cut a request.
const drainPause = 500 * time.Millisecond

// surveyPause is the least time between two looks at the node's network, and
// surveyAgain the most.
const (
	surveyPause = 5 * time.Second
	surveyAgain = time.Minute
)

// agent is nmi put together.
type agent struct {
	log       *slog.Logger
	level     *slog.LevelVar
	health    *telemetry.Health
	view      *nodeview.View
	watcher   *nodeview.Watcher
	secrets   *nodeview.Secrets
	kernel    *redirect.Origins
	redirect  *redirect.Redirect // nil with --redirect=none
	cache     *token.Cache
	called    <-chan struct{} // tells that Azure is asked for a token
	server    *nmi.Server
	explains  http.Handler // what the agent knows of a pod, on a Unix socket
	audit     *nmi.Audit
	events    *telemetry.PodEvents
	registry  *prometheus.Registry
	listen    netip.AddrPort
	synced    chan struct{} // closed when the view has everything
	once      sync.Once     // closes synced
	ready     chan struct{} // closed when every check is green for the first time
	onceReady sync.Once     // closes ready
	nodes     taint.Nodes   // nil without a start-up taint
}

// run serves until ctx ends or a part fails for good.
//
// What ends when: first the redirect is told, so that nobody is sent to a
// listener that closes; then the server, which answers what it holds; then what
// answers are made of; and last the audit, when everybody has been answered.
func (a *agent) run(ctx context.Context, o *options) error {
	background := context.WithoutCancel(ctx) // each of these is ended below, in order
	auditCtx, endAudit := context.WithCancel(background)
	partsCtx, endParts := context.WithCancel(background)
	serveCtx, endServe := context.WithCancel(background)
	var auditing sync.WaitGroup
	auditing.Go(func() { a.audit.Run(auditCtx) })
	defer func() { endAudit(); auditing.Wait() }()

	parts, partsCtx := errgroup.WithContext(partsCtx)
	a.startParts(partsCtx, parts, o)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { // a part that failed ends the agent
		select {
		case <-partsCtx.Done():
			return errors.New("a part of the agent has ended")
		case <-ctx.Done():
			return nil
		}
	})
	g.Go(func() error {
		defer endServe()
		return a.redirectPods(ctx, serveCtx, g, o)
	})
	if o.hostToken {
		g.Go(func() error { return a.serveHost(serveCtx, o.hostTokenPort) })
	}
	err := g.Wait()
	endParts()
	if failed := parts.Wait(); failed != nil {
		return failed
	}
	return err
}

// startParts starts what answers are made of.
func (a *agent) startParts(ctx context.Context, g *errgroup.Group, o *options) {
	told := make(chan struct{})
	g.Go(func() error { return redirect.FollowLinks(ctx, a.view, func() { close(told) }, a.log) })
	g.Go(func() error {
		select {
		case <-told: // a pod's link must be known before the pod is
			return a.watcher.Run(ctx)
		case <-ctx.Done():
			return nil
		}
	})
	g.Go(func() error { return a.secrets.Run(ctx) })
	g.Go(func() error { return a.cache.Run(ctx) })
	g.Go(func() error { return a.server.Prefetch(ctx) })
	g.Go(func() error { return a.survey(ctx) })
	g.Go(func() error { return giveBack(ctx, a.view, a.called) })
	if a.nodes != nil {
		g.Go(func() error { return a.untaint(ctx, a.nodes, o.node, o.startupTaint) })
	}
	a.startTelling(ctx, g, o)
}

// redirectPods listens for pods, has them redirected, and serves them until ctx
// ends. Then the redirect yields, and what is held is answered: serveCtx is for
// what outlives ctx.
func (a *agent) redirectPods(ctx, serveCtx context.Context, g *errgroup.Group, o *options) error {
	l := a.awaitListener(ctx)
	if l == nil {
		return nil
	}
	drained, drain := context.WithCancel(serveCtx)
	g.Go(func() error {
		defer drain() // after the redirect: nobody is sent to a closed port
		err := a.holdRedirect(ctx)
		a.server.Drain()
		<-time.After(drainPause)
		return err
	})
	err := a.server.Serve(drained, l)
	if a.redirect != nil && o.removeOnExit {
		err = errors.Join(err, a.removeRedirect())
	}
	return err
}

// holdRedirect has the redirect lead to this agent until ctx ends.
func (a *agent) holdRedirect(ctx context.Context) error {
	if a.redirect == nil {
		<-ctx.Done()
		return nil
	}
	if !a.awaitTurn(ctx) {
		return nil // the redirect never was this agent's
	}
	err := a.redirect.Run(ctx)
	if failed := a.redirect.Yield(); failed != nil {
		a.log.WarnContext(ctx, "new connections cannot be held off: clients may be refused", "err", failed)
	}
	return err
}

// awaitTurn waits, for as long as another agent serves the node, until this one
// knows the node as well. Where none does it does not wait: pods must not reach
// the metadata service meanwhile. It reports false when ctx ended first.
func (a *agent) awaitTurn(ctx context.Context) bool {
	for told := false; ; told = true {
		served, err := a.redirect.Served()
		if err != nil {
			a.log.WarnContext(ctx, "no other agent can be seen: taking the redirect over at once", "err", err)
		}
		if !served {
			return ctx.Err() == nil
		}
		if !told {
			a.log.InfoContext(ctx, "another agent serves this node: taking over when ready")
		}
		select {
		case <-a.synced:
			return ctx.Err() == nil
		case <-time.After(servedPause): // the other may end
		case <-ctx.Done():
			return false
		}
	}
}

// removeRedirect takes the redirect away, unless another agent is there to have
// it, or comes.
func (a *agent) removeRedirect() error {
	served, err1 := a.redirect.Served()
	awaited, err2 := a.redirect.Awaited()
	if err := errors.Join(err1, err2); served || awaited || err != nil {
		return err
	}
	return a.redirect.Remove()
}

// awaitListener listens for pods. What stands in the way (an address that
// cannot be set, a port in use) turns readiness red and is tried again.
func (a *agent) awaitListener(ctx context.Context) net.Listener {
	return a.retry(ctx, a.report(checkListener), func() (net.Listener, error) {
		if a.redirect != nil {
			return a.redirect.Listen(ctx)
		}
		var lc net.ListenConfig
		return lc.Listen(ctx, "tcp4", a.listen.String())
	})
}

// serveHost serves processes of the node on both loopback addresses. The port
// may still be that of the agent which this one replaces.
func (a *agent) serveHost(ctx context.Context, port uint16) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, host := range []string{"127.0.0.1", "::1"} {
		g.Go(func() error {
			address := net.JoinHostPort(host, strconv.Itoa(int(port)))
			var told sync.Once
			l := a.retry(ctx, func(err error) {
				if err != nil {
					told.Do(func() {
						a.log.WarnContext(ctx, "the node's own token endpoint cannot be served yet", "address", address, "err", err)
					})
				}
			}, func() (net.Listener, error) {
				var lc net.ListenConfig
				l, err := lc.Listen(ctx, "tcp", address)
				if errors.Is(err, unix.EADDRNOTAVAIL) { // a node without IPv6
					return nil, nil //nolint:nilnil // none is to be had
				}
				return l, err
			})
			if l == nil {
				return nil
			}
			return a.server.ServeHost(ctx, l)
		})
	}
	return g.Wait()
}

// listenPause is the time between two tries to listen: short, since the agent that
// this one replaces has the port until it ends.
const listenPause = 200 * time.Millisecond

// retry listens, again and again until it succeeds; nil when ctx ended before.
func (a *agent) retry(ctx context.Context, report func(error), listen func() (net.Listener, error)) net.Listener {
	for {
		l, err := listen()
		report(err)
		if err == nil {
			return l
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(listenPause):
		}
	}
}

// report records a check and logs each change of it once.
func (a *agent) report(check string) func(error) {
	return func(err error) {
		if check == checkView && err == nil {
			a.once.Do(func() { close(a.synced) })
		}
		if !a.health.Set(check, err) {
			return
		}
		if err != nil {
			a.log.Warn("not ready", "check", check, "err", err)
			return
		}
		a.log.Info("ready", "check", check)
		if all, _ := a.health.Ready(); all {
			a.onceReady.Do(func() { close(a.ready) })
		}
	}
}

// survey tells whether the node's network keeps its pods apart, when the view of
// the node changes, and now and then.
func (a *agent) survey(ctx context.Context) error {
	report := a.report(checkNetwork)
	for {
		addrs, changed := a.view.Addresses()
		report(a.kernel.Survey(addrs))
		select {
		case <-changed:
		case <-time.After(surveyAgain): // links and routes change too
		case <-ctx.Done():
			return nil
		}
		select {
		case <-time.After(surveyPause): // pods come in crowds
		case <-ctx.Done():
			return nil
		}
	}
}
