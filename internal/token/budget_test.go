package token_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/token"
)

// service is a source that remembers who asked when.
type service struct {
	life    time.Duration
	arrives func() time.Duration // how late calls reach it; nil: at once

	mu     sync.Mutex
	delay  time.Duration  // guarded by mu
	at     []time.Time    // guarded by mu
	order  []string       // guarded by mu: resources
	active int            // guarded by mu
	peak   int            // guarded by mu
	groups map[string]int // guarded by mu: at once, by application
	most   int            // guarded by mu: of one application
	down   error          // guarded by mu
}

func (s *service) Token(ctx context.Context, r *token.Request) (token.Token, error) {
	if s.arrives != nil {
		time.Sleep(s.arrives())
	}
	s.mu.Lock()
	s.at = append(s.at, time.Now())
	s.order = append(s.order, r.Resource)
	s.active++
	s.peak = max(s.peak, s.active)
	if s.groups == nil {
		s.groups = map[string]int{}
	}
	s.groups[r.TenantID+r.ClientID]++
	s.most = max(s.most, s.groups[r.TenantID+r.ClientID])
	delay := s.delay
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.active--
		s.groups[r.TenantID+r.ClientID]--
	}()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return token.Token{}, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		return token.Token{}, s.down
	}
	now := time.Now()
	return token.Token{
		Value: token.Secret(fmt.Sprintf("%s-%s-%d", r.ClientID, r.Resource, now.UnixNano())), NotBefore: now, ExpiresOn: now.Add(s.life),
	}, nil
}

// busiest is the most calls that came within any one second.
func (s *service) busiest() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortFunc(s.at, time.Time.Compare)
	most := 0
	for i, from := range s.at {
		n := 0
		for _, at := range s.at[i:] {
			if at.Sub(from) <= time.Second {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

func (s *service) calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.at)
}

// peaks are the most calls at once, of all and of one application.
func (s *service) peaks() (all, one int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peak, s.most
}

func (s *service) setDelay(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = d
}

func (s *service) setDown(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = err
}

func managed(client, resource string) *token.Request {
	return &token.Request{ClientID: client, Resource: resource}
}

func TestBudgetRenewsManyTogetherInsideTheLimits(t *testing.T) {
	for name, arrives := range map[string]func() time.Duration{
		"calls that arrive at once":    nil,
		"calls that arrive late, some": func() time.Duration { return time.Duration(time.Now().UnixNano()/1000%7) * 60 * time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &service{life: 24 * time.Hour, delay: 100 * time.Millisecond, arrives: arrives}
				c := token.NewCache(token.CacheConfig{Source: s})
				began := time.Now()
				var wg sync.WaitGroup
				for i := range 110 {
					wg.Go(func() {
						if _, _, err := c.Get(t.Context(), managed(fmt.Sprint(i), "r"), token.Ask{Owner: fmt.Sprint(i)}); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				if d := time.Since(began); d > 9*time.Second && arrives == nil {
					t.Errorf("110 cold tokens took %s", d)
				}
				if n := s.busiest(); n > 20 {
					t.Errorf("%d calls came within a second, want at most 20", n)
				}
				if n, _ := s.peaks(); n > 5 {
					t.Errorf("%d calls at once, want at most 5", n)
				}
			})
		})
	}
}

func TestRunRenewsManyDueTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{life: 24 * time.Hour}
		c := token.NewCache(token.CacheConfig{Source: s})
		for i := range 110 {
			if _, _, err := c.Get(t.Context(), managed(fmt.Sprint(i), "r"), token.Ask{}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(13 * time.Hour) // all are due, and nobody renewed them
		s.setDelay(100 * time.Millisecond)
		before := s.calls()
		start(t, c)
		synctest.Wait()
		if lag := c.Stats().RefreshLag; lag < time.Hour {
			t.Errorf("RefreshLag = %s, want more than an hour", lag)
		}
		time.Sleep(10 * time.Second)
		if n := s.calls() - before; n != 110 {
			t.Errorf("%d tokens were renewed in 10 s, want 110", n)
		}
		if lag := c.Stats().RefreshLag; lag != 0 {
			t.Errorf("RefreshLag = %s when all is done", lag)
		}
		if n, _ := s.peaks(); n > 5 || s.busiest() > 20 {
			t.Errorf("%d calls within a second and %d at once", s.busiest(), n)
		}
	})
}

func TestBudgetLetsOwnersTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{life: time.Hour, delay: 200 * time.Millisecond}
		c := token.NewCache(token.CacheConfig{Source: s})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var busy int
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 100 { // the pod next door asks for one resource after the other
			wg.Go(func() {
				_, _, err := c.Get(ctx, managed("greedy", fmt.Sprint(i)), token.Ask{Owner: "greedy"})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case token.KindOf(err) == token.Busy:
					busy++
				case err != nil && !errors.Is(err, context.Canceled):
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if q := c.Stats().Queued.Foreground; q != 32 {
			t.Errorf("%d calls of one owner wait, want 32", q)
		}
		for i := range 5 {
			began := time.Now()
			_, how, err := c.Get(t.Context(), managed("modest", fmt.Sprint(i)), token.Ask{Owner: "modest"})
			if err != nil || how != token.Miss {
				t.Errorf("the modest pod got %s, %v", how, err)
			}
			if d := time.Since(began); d > 500*time.Millisecond {
				t.Errorf("the modest pod waited %s behind the flood", d)
			}
		}
		cancel()
		wg.Wait()
		if busy < 60 {
			t.Errorf("%d of 100 calls were refused, want those over 32 waiting", busy)
		}
		if q := c.Stats().Queued.Foreground; q != 0 {
			t.Errorf("%d calls wait that nobody waits for", q)
		}
		time.Sleep(time.Second) // what is under way ends by itself
	})
}

// Who has had no turn of late waits for the source's own pace alone, 62.5 ms, and
// not for a turn of who always has calls waiting beside.
func TestBudgetPutsWhoHadNoTurnFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{life: time.Hour, delay: 50 * time.Millisecond}
		c := token.NewCache(token.CacheConfig{Source: s})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					_, _, _ = c.Get(ctx, managed("greedy", fmt.Sprint(i, " ", n)), token.Ask{Owner: "greedy"})
				}
			})
		}
		time.Sleep(3 * time.Second) // the burst that the pace allows is over
		for i := range 20 {
			began := time.Now()
			if _, _, err := c.Get(t.Context(), managed(fmt.Sprint("modest", i), "r"), token.Ask{Owner: fmt.Sprint(i)}); err != nil {
				t.Error(err)
			}
			if d := time.Since(began); d > s.delay+70*time.Millisecond {
				t.Errorf("a pod that had no turn yet waited %s", d)
			}
			time.Sleep(37 * time.Millisecond)
		}
		cancel()
		wg.Wait()
		time.Sleep(time.Second) // what is under way ends by itself
	})
}

// Owners who ask again as soon as they are answered get a share each: who comes
// back does not go before who waits.
func TestBudgetSharesAmongThoseWhoComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{life: time.Hour, delay: 500 * time.Millisecond}
		c := token.NewCache(token.CacheConfig{Source: s})
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		const owners = 15 // three times as many as may ask at once
		var got [owners]int
		var wg sync.WaitGroup
		for i := range owners {
			wg.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					if _, _, err := c.Get(ctx, managed(fmt.Sprint("owner", i), fmt.Sprint(n)), token.Ask{Owner: fmt.Sprint(i)}); err == nil {
						got[i]++
					}
				}
			})
		}
		wg.Wait()
		if least, most := slices.Min(got[:]), slices.Max(got[:]); least < 30 || most > least+5 {
			t.Errorf("in a minute the owners got %v tokens, want as many each", got)
		}
		time.Sleep(time.Second) // what is under way ends by itself
	})
}

func TestBudgetGivesRefreshAndCallersTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{life: 24 * time.Hour}
		c := token.NewCache(token.CacheConfig{Source: s})
		for i := range 40 {
			if _, _, err := c.Get(t.Context(), managed("old", fmt.Sprint(i)), token.Ask{}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(13 * time.Hour)
		s.mu.Lock()
		s.order, s.delay = nil, 50*time.Millisecond
		s.mu.Unlock()
		start(t, c)
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() { _, _, _ = c.Get(t.Context(), managed("new", "new"), token.Ask{Owner: "o"}) })
			wg.Go(func() { _, _, _ = c.Get(t.Context(), managed("new", fmt.Sprint("new", i)), token.Ask{Owner: "o"}) })
		}
		wg.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		for i := 8; i+8 < 50; i += 8 { // once both wait, neither goes without for long
			fresh := 0
			for _, r := range s.order[i : i+8] {
				if strings.HasPrefix(r, "new") {
					fresh++
				}
			}
			if fresh < 2 || fresh > 6 {
				t.Errorf("of calls %d to %d, %d were for callers and the rest renewals; want turns", i, i+8, fresh)
			}
		}
	})
}

func TestPrefetchGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{life: 24 * time.Hour, delay: 100 * time.Millisecond}
		c := token.NewCache(token.CacheConfig{Source: s})
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() {
				if err := c.Prefetch(t.Context(), managed("p", fmt.Sprint("prefetch", i))); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait() // they queue in this order
		}
		time.Sleep(time.Second)
		if n, _ := s.peaks(); n > 2 {
			t.Errorf("%d prefetches at once, want 2", n)
		}
		began := time.Now()
		if _, _, err := c.Get(t.Context(), managed("q", "r"), token.Ask{Owner: "q"}); err != nil || time.Since(began) > 150*time.Millisecond {
			t.Errorf("a caller waited %s behind prefetches (%v)", time.Since(began), err)
		}
		began = time.Now()
		if _, how, err := c.Get(t.Context(), managed("p", "prefetch29"), token.Ask{Owner: "q"}); err != nil || how != token.Coalesced || time.Since(began) > 300*time.Millisecond {
			t.Errorf("a caller who wants what is to be prefetched got it by %s after %s (%v)", how, time.Since(began), err)
		}
		wg.Wait()
		if n := s.busiest(); n > 12 {
			t.Errorf("%d calls within a second, want about half of 20", n)
		}
		if err := c.Prefetch(t.Context(), managed("p", "prefetch0")); err != nil || s.calls() != 31 {
			t.Errorf("prefetching what is there = %v, %d calls", err, s.calls())
		}
	})
}

func TestPrefetchEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{life: 24 * time.Hour, delay: 10 * time.Second}
		c := token.NewCache(token.CacheConfig{Source: s})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				if err := c.Prefetch(ctx, managed("p", fmt.Sprint(i))); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Prefetch() = %v, want its own deadline", err)
				}
			})
		}
		wg.Wait()
		if q := c.Stats().Queued.Prefetch; q != 0 {
			t.Errorf("%d prefetches wait that nobody waits for", q)
		}
		time.Sleep(time.Minute)
		if n := s.calls(); n != 2 {
			t.Errorf("%d calls, want the two that were under way", n)
		}
	})
}

func TestApplicationsHaveABoundOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{life: time.Hour, delay: time.Second}
		c := token.NewCache(token.CacheConfig{Source: s})
		var wg sync.WaitGroup
		for i := range 60 {
			r := &token.Request{
				Type: v1.ServicePrincipal, TenantID: "t", ClientID: fmt.Sprint(i % 20), Resource: fmt.Sprint(i),
				Credential: token.NewCredential("s", "", ""),
			}
			wg.Go(func() {
				if _, _, err := c.Get(t.Context(), r, token.Ask{Owner: fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if all, one := s.peaks(); all != 16 || one > 2 {
			t.Errorf("%d calls at once and %d of one application, want 16 and 2", all, one)
		}
	})
}
