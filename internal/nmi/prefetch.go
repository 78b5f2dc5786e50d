package nmi

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/imds"
	"github.com/podid-io/podid/internal/nodeview"
	"github.com/podid-io/podid/internal/token"
)

const (
	// prefetchDelay is how long changes of the view are collected, and
	// prefetchDelayMax while they keep coming: each look is at all pods.
	prefetchDelay    = 20 * time.Millisecond
	prefetchDelayMax = 250 * time.Millisecond
	// prefetchTimeout bounds one prefetch, its wait for the others included.
	prefetchTimeout = 2 * time.Minute
	// prefetchAtOnce bounds those that wait.
	prefetchAtOnce = 64
)

// Prefetch gets tokens for pods that were just bound to the node, before they
// run: of the resources that their identities were asked for here in the last
// day, or that their annotation podid.io/prefetch names. It ends with ctx.
func (s *Server) Prefetch(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(prefetchAtOnce)
	p := prefetcher{server: s, running: g, left: make(map[wanted][]string), again: make(chan struct{}, 1)}
	for pause := prefetchDelay; ctx.Err() == nil; {
		began := time.Now()
		p.round(ctx)
		if pause = min(2*pause, prefetchDelayMax); time.Since(began) > prefetchDelayMax {
			pause = prefetchDelay // it was quiet
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
	return g.Wait()
}

// prefetcher is what a prefetch has done, and has left to do.
type prefetcher struct {
	server  *Server
	running *errgroup.Group
	left    map[wanted][]string // resources that were not asked for yet
	again   chan struct{}       // holds one element when more of left can be done
}

// wanted is an identity of a pod, for which tokens are got once.
type wanted struct{ uid, namespace, name string }

// round starts what can be started, and waits until there may be more.
func (p *prefetcher) round(ctx context.Context) {
	pods, changed := p.server.config.Pods.All()
	wakes := make(map[<-chan struct{}]bool)
	left := make(map[wanted][]string, len(p.left))
	for i := range pods {
		for _, grant := range pods[i].Grants {
			w := wanted{pods[i].Pod.UID, grant.Identity.Namespace, grant.Identity.Name}
			resources, seen := p.left[w]
			switch {
			case grant.Ready && !seen:
				resources = p.resources(&pods[i], grant)
				fallthrough
			case grant.Ready:
				left[w] = p.start(ctx, pods[i].Pod, grant, resources, wakes)
			case seen:
				left[w] = resources
			}
		}
	}
	p.left = left
	waiting, end := context.WithCancel(ctx)
	var waits sync.WaitGroup
	defer waits.Wait()
	defer end()
	for wake := range wakes {
		waits.Go(func() { // ends with this round
			select {
			case <-wake:
				p.poke()
			case <-waiting.Done():
			}
		})
	}
	select {
	case <-changed:
	case <-p.again:
	case <-ctx.Done():
	}
}

// resources are what tokens are worth getting for.
func (p *prefetcher) resources(pod *nodeview.Found, grant identity.Grant) []string {
	if len(pod.Prefetch) > 0 {
		return pod.Prefetch[:min(len(pod.Prefetch), longestPrefetch)]
	}
	return p.server.history.of(grant.Identity, time.Now())
}

// start asks for the tokens of one grant, and returns the resources that it has
// to come back for: when a channel that it adds to wakes closes, or when another
// prefetch has ended.
func (p *prefetcher) start(ctx context.Context, pod identity.Pod, grant identity.Grant, resources []string, wakes map[<-chan struct{}]bool) []string {
	for i, resource := range resources {
		req, wake, err := p.server.request(grant.Identity, query{TokenRequest: imds.TokenRequest{Resource: resource}})
		switch {
		case err != nil && wake == nil:
			return nil // the pod hears of it when it asks
		case err != nil: // its Secret is on its way
			wakes[wake] = true
			return resources[i:]
		}
		if !p.running.TryGo(func() error { p.fetch(ctx, pod, &req); return nil }) {
			return resources[i:]
		}
	}
	return nil
}

func (p *prefetcher) fetch(ctx context.Context, pod identity.Pod, req *token.Request) {
	defer p.poke()
	ctx, cancel := context.WithTimeout(ctx, prefetchTimeout)
	defer cancel()
	if err := p.server.config.Tokens.Prefetch(ctx, req); err != nil {
		// The pod hears of it when it asks.
		p.server.config.Log.DebugContext(ctx, "no token ahead of its request", "pod", pod.Namespace+"/"+pod.Name, "err", err)
	}
}

// poke has another round begin.
func (p *prefetcher) poke() {
	select {
	case p.again <- struct{}{}:
	default: // one does for all
	}
}
