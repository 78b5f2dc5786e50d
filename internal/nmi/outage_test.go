package nmi_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/token"
)

// azure is a source of tokens that can go away.
type azure struct {
	life time.Duration

	mu    sync.Mutex
	calls int           // guarded by mu
	away  error         // guarded by mu
	hangs time.Duration // how long a call takes to fail; guarded by mu
	// last are the tokens issued, by resource; guarded by mu. Where same is set,
	// they are issued again, as IMDS does with what it holds.
	last map[string]token.Token
	same bool
}

func (a *azure) Token(ctx context.Context, r *token.Request) (token.Token, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	if err := a.away; err != nil {
		hangs := a.hangs
		a.mu.Unlock()
		select {
		case <-time.After(hangs):
		case <-ctx.Done():
			err = ctx.Err()
		}
		a.mu.Lock()
		return token.Token{}, err
	}
	if a.same {
		return a.last[r.Resource], nil
	}
	if a.last == nil {
		a.last = make(map[string]token.Token)
	}
	a.last[r.Resource] = token.Token{
		Value: token.Secret(fmt.Sprintf("%s#%d", r.Resource, a.calls)), NotBefore: time.Now(), ExpiresOn: time.Now().Add(a.life),
	}
	return a.last[r.Resource], nil
}

// repeat has no token be newer than those issued already.
func (a *azure) repeat() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.same = true
}

func (a *azure) leave(err error, hangs time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.away, a.hangs = err, hangs
}

// Clients notice nothing of Azure being away, whatever the moment. The worst is
// when no token was renewed though all were due: they are renewed somewhere
// between 40 and 50 percent of their life, so from 40 on Azure gives nothing
// newer, and at 50 it goes away. The benchmarks read the figures that this test
// logs.
func TestOutage(t *testing.T) {
	const resources = 10
	lives := map[string]struct{ life, outage, pause time.Duration }{
		"ten hours, tokens of a day":         {life: 24 * time.Hour, outage: 10 * time.Hour, pause: time.Minute},
		"twenty minutes, tokens of one hour": {life: time.Hour, outage: 20 * time.Minute, pause: 5 * time.Second},
	}
	for name, tc := range lives {
		for _, hangs := range []time.Duration{0, 20 * time.Second} {
			for _, age := range []float64{0.4, 0.45, 0.5} {
				t.Run(fmt.Sprintf("%s, gone at %g of their life, each call fails after %s", name, age, hangs), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						source := &azure{life: tc.life}
						c := serveFrom(t, source)
						path := func(i int) string { return fmt.Sprint(ask, "/", i%resources) }
						for i := range resources {
							c.mustGet(t, path(i))
						}
						time.Sleep(tc.life*2/5 - time.Second)
						if age == 0.5 {
							source.repeat()
						}
						time.Sleep(time.Duration((age-0.4)*float64(tc.life)) + time.Second)
						source.leave(errors.New("connection refused"), hangs)
						requests, failed := 0, 0
						for end := time.Now().Add(tc.outage); time.Now().Before(end); time.Sleep(tc.pause) {
							began := time.Now()
							status, body := c.get(t, path(requests))
							if requests++; status != 200 {
								failed++
								t.Errorf("%s before the end of the outage a client is answered %d: %s", time.Until(end), status, body["error_description"])
							}
							if waited := time.Since(began); waited > 5*time.Second {
								t.Errorf("a client waited %s for a token that is held", waited)
							}
						}
						t.Logf("outage_requests: %d", requests)
						t.Logf("outage_errors: %d", failed)
					})
				})
			}
		}
	}
}

// mustGet fails the test unless there is a token.
func (c client) mustGet(t *testing.T, path string) {
	t.Helper()
	if status, body := c.get(t, path); status != 200 {
		t.Fatalf("answered %d: %v", status, body)
	}
}

// serveFrom is serve with the real cache over a source.
func serveFrom(t *testing.T, source token.Source) client {
	t.Helper()
	cache := token.NewCache(token.CacheConfig{Source: source})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = cache.Run(ctx) }) // always nil
	t.Cleanup(func() { cancel(); running.Wait() })
	return serve(t, newWorld(), nmi.Controller{}, func(c *nmi.Config) { c.Tokens = cache })
}
