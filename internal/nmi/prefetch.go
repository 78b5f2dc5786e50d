package nmi

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/imds"
	"github.com/podid-io/podid/internal/nodeview"
	"github.com/podid-io/podid/internal/token"
)

const (
	// prefetchDelay is how long changes of the view are collected.
	prefetchDelay = 20 * time.Millisecond
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
	done := make(map[wanted]bool)
	for ctx.Err() == nil {
		pods, changed := s.config.Pods.All()
		now := make(map[wanted]bool, len(done))
		for i := range pods {
			for _, grant := range pods[i].Grants {
				w := wanted{pods[i].Pod.UID, grant.Identity.Namespace, grant.Identity.Name}
				if now[w] = done[w]; done[w] || !grant.Ready {
					continue
				}
				now[w] = s.prefetch(ctx, g, &pods[i], grant)
			}
		}
		done = now
		select {
		case <-changed:
		case <-ctx.Done():
		}
		select {
		case <-time.After(prefetchDelay):
		case <-ctx.Done():
		}
	}
	return g.Wait()
}

// wanted is an identity of a pod, for which tokens are got once.
type wanted struct{ uid, namespace, name string }

// prefetch asks for the tokens of one grant, and reports whether it could.
func (s *Server) prefetch(ctx context.Context, g *errgroup.Group, pod *nodeview.Found, grant identity.Grant) bool {
	resources := s.history.of(grant.Identity, time.Now())
	if len(pod.Prefetch) > 0 {
		resources = pod.Prefetch[:min(len(pod.Prefetch), longestPrefetch)]
	}
	for _, resource := range resources {
		req, wake, err := s.request(grant.Identity, query{TokenRequest: imds.TokenRequest{Resource: resource}})
		if err != nil {
			return wake == nil // its Secret is on its way: again at the next change
		}
		if !g.TryGo(func() error { s.fetchAhead(ctx, pod.Pod, &req); return nil }) {
			return false
		}
	}
	return true
}

func (s *Server) fetchAhead(ctx context.Context, pod identity.Pod, req *token.Request) {
	ctx, cancel := context.WithTimeout(ctx, prefetchTimeout)
	defer cancel()
	if err := s.config.Tokens.Prefetch(ctx, req); err != nil {
		// The pod hears of it when it asks.
		s.config.Log.DebugContext(ctx, "no token ahead of its request", "pod", pod.Namespace+"/"+pod.Name, "err", err)
	}
}
