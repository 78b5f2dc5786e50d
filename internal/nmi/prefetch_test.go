package nmi_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/nodeview"
	"github.com/podid-io/podid/internal/token"
)

// prefetching runs Prefetch until the test ends.
func prefetching(t *testing.T, s *nmi.Server) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Prefetch(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func (f *fakeWorld) prefetched() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.ahead)
}

func TestPrefetchComesBackForASecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.found.Grants = []identity.Grant{application(1)}
		w.found.Prefetch = []string{vault, "https://management.azure.com/"}
		secrets := newSecrets(map[string]map[string][]byte{})
		prefetching(t, newServer(t, w, func(c *nmi.Config) { c.Secrets, c.Application = secrets, authority }))
		time.Sleep(time.Minute)
		secrets.set("team/sp", map[string][]byte{"clientSecret": []byte("hush")})
		time.Sleep(time.Second)
		if n := w.prefetched(); n != 2 {
			t.Errorf("%d tokens were prefetched a second after the Secret came, want 2: the view did not change", n)
		}
	})
}

// crowd is a node with many pods, whose tokens take their time, and counts the
// looks at all of them.
type crowd struct {
	*fakeWorld
	pods, looks int
}

func (c *crowd) All() ([]nodeview.Found, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looks++
	all := make([]nodeview.Found, c.pods)
	for i := range all {
		all[i] = c.found
		all[i].Pod.UID = fmt.Sprint("uid-", i)
	}
	return all, c.changed
}

func (c *crowd) Prefetch(ctx context.Context, r *token.Request) error {
	select {
	case <-time.After(100 * time.Millisecond):
	case <-ctx.Done():
	}
	return c.fakeWorld.Prefetch(ctx, r)
}

func TestPrefetchForgetsNobodyInACrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &crowd{fakeWorld: newWorld(), pods: 250}
		w.found.Grants = w.found.Grants[:1]
		w.found.Prefetch = []string{vault}
		prefetching(t, newServer(t, w.fakeWorld, func(c *nmi.Config) { c.Pods, c.Tokens = w, w }))
		time.Sleep(10 * time.Second)
		if n := w.prefetched(); n != w.pods {
			t.Errorf("tokens of %d pods were prefetched, want %d, each once", n, w.pods)
		}
	})
}

func TestPrefetchLooksSeldomWhileMuchChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &crowd{fakeWorld: newWorld(), pods: 1}
		prefetching(t, newServer(t, w.fakeWorld, func(c *nmi.Config) { c.Pods, c.Tokens = w, w }))
		for range 1000 {
			time.Sleep(10 * time.Millisecond)
			w.change(func(*fakeWorld) {})
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.looks > 50 {
			t.Errorf("%d looks at all pods in 10s with a hundred changes a second, want about four a second", w.looks)
		}
	})
}
