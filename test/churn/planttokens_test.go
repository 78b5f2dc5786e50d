package churn_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/token"
)

// cachedByResource is a cache that forgets whose its tokens are.
type cachedByResource struct {
	nmi.Tokens
	mu   sync.Mutex
	kept map[string]token.Token // guarded by mu
}

func byResource(_ *world, t nmi.Tokens) nmi.Tokens {
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

func busy(_ *world, t nmi.Tokens) nmi.Tokens { return alwaysBusy{t} }

func (alwaysBusy) Get(context.Context, *token.Request, token.Ask) (token.Token, token.How, error) {
	return token.Token{}, "", &token.Error{Kind: token.Busy, Err: errors.New("busy")}
}

// sometimes has something else happen to one in a hundred requests that come as
// far as their token.
type sometimes struct {
	nmi.Tokens
	count *atomic.Int64
	world *world
	what  func(*world)
}

func nowAndThen(what func(*world)) func(*world, nmi.Tokens) nmi.Tokens {
	return func(w *world, t nmi.Tokens) nmi.Tokens { return sometimes{t, new(atomic.Int64), w, what} }
}

func (s sometimes) Cached(r *token.Request, a token.Ask) (token.Token, token.How, bool) {
	if s.count.Add(1)%100 == 0 {
		s.what(s.world)
	}
	return s.Tokens.Cached(r, a)
}

func panics(*world) { panic("a bug") }

func aborts(*world) { panic(http.ErrAbortHandler) }

func sleeps(w *world) { <-w.over }
