package token_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podid-io/podid/internal/token"
)

// The worst moment for the source to go away is when tokens are due.
func TestCacheRidesThroughAnOutage(t *testing.T) {
	tests := map[string]struct {
		life, outage time.Duration
		hangs        time.Duration // how long a call takes to fail
	}{
		"ten hours with tokens of a day":                 {life: 24 * time.Hour, outage: 10 * time.Hour},
		"ten hours of silence with tokens of a day":      {life: 24 * time.Hour, outage: 10 * time.Hour, hangs: 20 * time.Second},
		"twenty minutes with tokens of an hour":          {life: time.Hour, outage: 20 * time.Minute},
		"twenty minutes of silence, tokens of an hour":   {life: time.Hour, outage: 20 * time.Minute, hangs: 20 * time.Second},
		"twenty-nine minutes with tokens of an hour":     {life: time.Hour, outage: 29 * time.Minute},
		"twenty-nine minutes of silence, tokens an hour": {life: time.Hour, outage: 29 * time.Minute, hangs: 20 * time.Second},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &service{life: tc.life}
				c := token.NewCache(token.CacheConfig{Source: s})
				start(t, c)
				const tokens = 20
				for i := range tokens {
					if _, _, err := c.Get(t.Context(), managed("id", fmt.Sprint(i)), token.Ask{}); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(tc.life * 2 / 5) // the first is due now
				s.mu.Lock()
				s.delay, s.down = tc.hangs, errors.New("connection refused")
				s.mu.Unlock()
				for end := time.Now().Add(tc.outage); time.Now().Before(end); time.Sleep(15 * time.Second) {
					for i := range tokens {
						began := time.Now()
						if _, _, err := c.Get(t.Context(), managed("id", fmt.Sprint(i)), token.Ask{Owner: "pod"}); err != nil {
							t.Fatalf("%s before the end of the outage: %v", time.Until(end), err)
						}
						if d := time.Since(began); d > 5*time.Second {
							t.Fatalf("a caller waited %s for a token that is held", d)
						}
					}
				}
				s.mu.Lock()
				s.delay, s.down = 0, nil
				s.mu.Unlock()
				time.Sleep(16 * time.Minute)
				for i := range tokens {
					got, how, err := c.Get(t.Context(), managed("id", fmt.Sprint(i)), token.Ask{})
					if err != nil || how != token.Hit || time.Until(got.ExpiresOn) < tc.life/2 {
						t.Errorf("after the outage Get() = %s, %s, %v; want a new token", time.Until(got.ExpiresOn), how, err)
					}
				}
			})
		})
	}
}

// A metadata service hands out the same token until half of its life: what was
// got late must not be renewed late.
func TestCacheCountsTheLifeOfATokenFromItsIssue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSource{life: 24 * time.Hour, same: true}
		if _, err := s.Token(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11*time.Hour + 59*time.Minute)
		c := token.NewCache(token.CacheConfig{Source: s})
		start(t, c)
		get(t, c, "a#1", token.Miss)
		s.mu.Lock()
		s.same = false
		s.mu.Unlock()
		time.Sleep(2 * time.Minute)
		if got, _, err := c.Get(t.Context(), request, token.Ask{}); err != nil || time.Until(got.ExpiresOn) < 23*time.Hour {
			t.Errorf("Get() = a token with %s left, %v; want a new one", time.Until(got.ExpiresOn), err)
		}
	})
}

func TestCacheLetsGoOfWhatNobodyAsksFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{life: 24 * time.Hour}
		c := token.NewCache(token.CacheConfig{Source: s})
		start(t, c)
		if _, err := c.Token(t.Context(), managed("id", "r")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Hour)
		if n := s.calls(); n < 2 || n > 4 {
			t.Errorf("%d calls in 100 hours for a token that was asked for once, want few", n)
		}
		if st := c.Stats(); st.Entries != 0 || !st.SoonestExpiry.IsZero() {
			t.Errorf("Stats() = %+v, want nothing held", st)
		}
	})
}

func TestCacheRenewsAgainWhatIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{life: 100 * time.Hour}
		c := token.NewCache(token.CacheConfig{Source: s})
		start(t, c)
		if _, err := c.Token(t.Context(), managed("id", "r")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(120 * time.Hour) // renewed once, due again, and let be
		if n := s.calls(); n != 2 {
			t.Fatalf("%d calls, want 2", n)
		}
		if _, how, err := c.Get(t.Context(), managed("id", "r"), token.Ask{}); err != nil || how != token.Hit {
			t.Errorf("Get() = %s, %v", how, err)
		}
		synctest.Wait()
		if n := s.calls(); n != 3 {
			t.Errorf("%d calls, want the token renewed as soon as it is wanted", n)
		}
	})
}

func TestCacheHonoursRetryAfterOfARenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{life: time.Hour}
		c := token.NewCache(token.CacheConfig{Source: s})
		start(t, c)
		if _, err := c.Token(t.Context(), managed("id", "r")); err != nil {
			t.Fatal(err)
		}
		s.setDown(&token.Error{RetryAfter: 5 * time.Minute, Err: errors.New("IMDS answered 429")})
		for s.calls() < 2 {
			time.Sleep(time.Second)
		}
		time.Sleep(4*time.Minute + 50*time.Second)
		if n := s.calls(); n != 2 {
			t.Errorf("%d calls, want none within the Retry-After of five minutes", n)
		}
		time.Sleep(15 * time.Second)
		if n := s.calls(); n != 3 {
			t.Errorf("%d calls, want one when the Retry-After is over", n)
		}
	})
}

func TestCacheAsksLessAndLessOftenAfterRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{life: time.Hour}
		c := token.NewCache(token.CacheConfig{Source: s})
		s.setDown(&token.Error{Kind: token.Rejected, Err: errors.New("AADSTS7000215")})
		for range 600 {
			if _, err := c.Token(t.Context(), managed("id", "r")); token.KindOf(err) != token.Rejected {
				t.Fatalf("Token() = %v, want a refusal", err)
			}
			time.Sleep(500 * time.Millisecond)
		}
		if n := s.calls(); n < 10 || n > 15 {
			t.Errorf("%d calls in five minutes, want them to go to one in 30 s", n)
		}
		s.setDown(nil)
		time.Sleep(30 * time.Second)
		if _, err := c.Token(t.Context(), managed("id", "r")); err != nil {
			t.Error(err)
		}
	})
}

func TestCacheEndsRenewalsWithRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{life: time.Hour}
		c := token.NewCache(token.CacheConfig{Source: s})
		for i := range 30 {
			if _, err := c.Token(t.Context(), managed("id", fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		s.setDelay(time.Hour)
		time.Sleep(40 * time.Minute)
		stop := start(t, c)
		synctest.Wait()
		if q := c.Stats().Queued.Refresh; q < 20 {
			t.Errorf("%d renewals wait, want most of 30", q)
		}
		stop()
		if q := c.Stats().Queued.Refresh; q != 0 {
			t.Errorf("%d renewals wait after the end of Run", q)
		}
		if got, how, err := c.Get(t.Context(), managed("id", "1"), token.Ask{}); err != nil || how != token.Hit || !strings.HasPrefix(string(got.Value), "id-1") {
			t.Errorf("Get() = %s, %v after the end of Run", how, err)
		}
	})
}

func TestACallerOutlivesTheEndOfRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{life: 40 * time.Second}
		c := token.NewCache(token.CacheConfig{Source: s})
		stop := start(t, c)
		if _, err := c.Token(t.Context(), managed("id", "r")); err != nil {
			t.Fatal(err)
		}
		s.setDelay(time.Hour)
		time.Sleep(41 * time.Second) // expired, and the renewal hangs
		got := make(chan error)
		go func() {
			_, how, err := c.Get(t.Context(), managed("id", "r"), token.Ask{})
			if how != token.Miss {
				t.Errorf("the caller got a token by %s, want by a call of its own", how)
			}
			got <- err
		}()
		synctest.Wait()
		s.setDelay(0)
		stop()
		if err := <-got; err != nil {
			t.Errorf("a caller fails with Run: %v", err)
		}
	})
}
