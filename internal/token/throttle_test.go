package token_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podid-io/podid/internal/token"
)

func throttled(after time.Duration) error {
	return &token.Error{RetryAfter: after, Err: errors.New("IMDS answered 429")}
}

// IMDS counts the calls of the whole machine, so its Retry-After is for all.
func TestThrottlingHoldsBackAllManagedIdentities(t *testing.T) {
	tests := map[string]struct {
		fault error
		want  time.Duration // until the next call
	}{
		"as long as asked":            {fault: throttled(3 * time.Second), want: 3 * time.Second},
		"a few seconds at most":       {fault: throttled(time.Hour), want: 5 * time.Second},
		"not without a word":          {fault: throttled(0)},
		"not for a refusal":           {fault: &token.Error{Kind: token.Rejected, RetryAfter: time.Minute, Err: errors.New("no")}},
		"not for one identity's lack": {fault: &token.Error{Kind: token.NotThere, RetryAfter: time.Minute, Err: errors.New("no")}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &service{life: 24 * time.Hour}
				c := token.NewCache(token.CacheConfig{Source: s})
				s.setDown(tc.fault)
				if _, err := c.Token(t.Context(), managed("a", "r")); err == nil {
					t.Fatal("no failure")
				}
				s.setDown(nil)
				began := time.Now()
				var wg sync.WaitGroup
				for i := range 3 {
					wg.Go(func() {
						if _, _, err := c.Get(t.Context(), managed(fmt.Sprint(i), "r"), token.Ask{Owner: fmt.Sprint(i)}); err != nil {
							t.Error(err)
						}
						if d := time.Since(began); d < tc.want || d > tc.want+time.Second/2 {
							t.Errorf("the next token came after %s, want %s", d, tc.want)
						}
					})
				}
				wg.Wait()
			})
		})
	}
}

func TestThrottlingOfIMDSConcernsNoApplications(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{life: time.Hour}
		c := token.NewCache(token.CacheConfig{Source: s})
		s.setDown(throttled(time.Minute))
		if _, err := c.Token(t.Context(), managed("a", "r")); err == nil {
			t.Fatal("no failure")
		}
		s.setDown(nil)
		began := time.Now()
		signIn(t, c, "s")
		if d := time.Since(began); d > time.Second/10 {
			t.Errorf("an application waited %s", d)
		}
	})
}

func TestThrottlingDelaysNoTokenThatIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{life: time.Hour}
		c := token.NewCache(token.CacheConfig{Source: s})
		held, err := c.Token(t.Context(), managed("held", "r"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(55 * time.Minute) // few minutes left: a newer one is worth a call
		s.setDown(throttled(time.Hour))
		if _, err := c.Token(t.Context(), managed("a", "r")); err == nil {
			t.Fatal("no failure")
		}
		before := s.calls()
		began := time.Now()
		got, how, err := c.Get(t.Context(), managed("held", "r"), token.Ask{})
		if err != nil || got.Value != held.Value || how != token.Stale || time.Since(began) != 0 {
			t.Errorf("Get() = %s after %s, %v; want what is held at once", how, time.Since(began), err)
		}
		s.setDown(nil)
		time.Sleep(5 * time.Second)
		if n := s.calls() - before; n != 0 {
			t.Errorf("%d calls while IMDS wants none", n)
		}
		if _, how, err := c.Get(t.Context(), managed("held", "r"), token.Ask{}); err != nil || how != token.Miss {
			t.Errorf("Get() = %s, %v; want a newer token when IMDS takes calls again", how, err)
		}
	})
}
