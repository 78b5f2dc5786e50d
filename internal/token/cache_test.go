package token_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podid-io/podid/internal/token"
)

// fakeSource issues tokens of a fixed life after a delay, or fails.
type fakeSource struct {
	life, delay time.Duration

	mu    sync.Mutex
	calls int   // guarded by mu
	err   error // guarded by mu
	same  bool  // guarded by mu: keep answering with the last token
	last  token.Token
}

func (s *fakeSource) Token(ctx context.Context, r *token.Request) (token.Token, error) {
	select {
	case <-time.After(s.delay):
	case <-ctx.Done():
		return token.Token{}, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.err != nil {
		return token.Token{}, s.err
	}
	if !s.same || s.last.Value == "" {
		s.last = token.Token{
			Value:     token.Secret(fmt.Sprintf("%s#%d", r.ClientID, s.calls)),
			NotBefore: time.Now(), ExpiresOn: time.Now().Add(s.life),
		}
	}
	return s.last, nil
}

func (s *fakeSource) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *fakeSource) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

var request = &token.Request{ClientID: "a", Resource: "https://vault.azure.net"}

// get fails the test unless the answer is want from how.
func get(t *testing.T, c *token.Cache, want string, how token.How) {
	t.Helper()
	got, gotHow, err := c.Get(t.Context(), request, token.Ask{})
	if err != nil || string(got.Value) != want || gotHow != how {
		t.Errorf("Get() = %q, %s, %v; want %q, %s", string(got.Value), gotHow, err, want, how)
	}
}

// start runs c until stop is called or the test ends.
func start(t *testing.T, c *token.Cache) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func TestCacheCoalescesColdCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSource{life: 24 * time.Hour, delay: 20 * time.Millisecond}
		c := token.NewCache(token.CacheConfig{Source: s})
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if got, err := c.Token(t.Context(), request); err != nil || got.Value != "a#1" {
					t.Errorf("Token() = %v, %v; want the first token", got, err)
				}
			})
		}
		wg.Wait()
		if n := s.count(); n != 1 {
			t.Errorf("the source was called %d times, want once", n)
		}
		get(t, c, "a#1", token.Hit)
	})
}

func TestCacheOutlivesAnImpatientCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSource{life: time.Hour, delay: 5 * time.Second}
		c := token.NewCache(token.CacheConfig{Source: s})
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Token(impatient, request); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the impatient caller got %v, want its own deadline", err)
		}
		get(t, c, "a#1", token.Coalesced)
	})
}

func TestCacheRenewsBehindItsCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSource{life: 24 * time.Hour, delay: time.Second}
		c := token.NewCache(token.CacheConfig{Source: s})
		start(t, c)
		get(t, c, "a#1", token.Miss)
		time.Sleep(9 * time.Hour) // before 40 percent
		get(t, c, "a#1", token.Hit)
		time.Sleep(4 * time.Hour) // past half life
		get(t, c, "a#2", token.Hit)
		if n := s.count(); n != 2 {
			t.Errorf("the source was called %d times, want 2", n)
		}
	})
}

func TestCacheServesWhatIsValidWhileTheSourceIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSource{life: time.Hour}
		c := token.NewCache(token.CacheConfig{Source: s})
		get(t, c, "a#1", token.Miss)
		s.set(errors.New("connection refused"))
		time.Sleep(45 * time.Minute)
		get(t, c, "a#1", token.Hit)
		synctest.Wait()
		time.Sleep(10 * time.Minute) // under ten minutes left, and no newer one to be had
		get(t, c, "a#1", token.Stale)
		time.Sleep(5 * time.Minute) // expired
		if _, err := c.Token(t.Context(), request); err == nil {
			t.Error("an expired token was served")
		}
	})
}

func TestCacheNeverHandsOutAnOldTokenWhenANewerCanBeHad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSource{life: time.Hour, delay: time.Second}
		c := token.NewCache(token.CacheConfig{Source: s})
		get(t, c, "a#1", token.Miss)
		time.Sleep(51 * time.Minute)
		get(t, c, "a#2", token.Miss)
	})
}

func TestCacheRenewsShortTokensToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSource{life: 12 * time.Minute}
		c := token.NewCache(token.CacheConfig{Source: s})
		get(t, c, "a#1", token.Miss)
		time.Sleep(3 * time.Minute) // nine left, and nobody has asked for a newer one
		get(t, c, "a#2", token.Miss)
	})
}

func TestCacheBacksOffWhenTheSourceHasNothingNewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSource{life: 10 * time.Hour, same: true}
		c := token.NewCache(token.CacheConfig{Source: s})
		start(t, c)
		get(t, c, "a#1", token.Miss)
		for s.count() < 2 {
			time.Sleep(time.Second)
		}
		for range 50 { // 50 requests in half a minute after a refresh that brought nothing
			get(t, c, "a#1", token.Hit)
			synctest.Wait()
			time.Sleep(600 * time.Millisecond)
		}
		if n := s.count(); n != 2 {
			t.Errorf("the source was called %d times, want 2", n)
		}
		time.Sleep(time.Hour)
		if n := s.count(); n < 7 || n > 13 {
			t.Errorf("the source was called %d times within an hour, want pauses of a minute that grow to ten", n)
		}
	})
}

func TestCacheBacksOffUnderTenMinutesToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSource{life: 9 * time.Minute, same: true}
		c := token.NewCache(token.CacheConfig{Source: s})
		get(t, c, "a#1", token.Miss)
		time.Sleep(5 * time.Minute)
		get(t, c, "a#1", token.Miss) // nothing newer came of it
		for range 50 {
			get(t, c, "a#1", token.Stale)
		}
		if n := s.count(); n != 2 {
			t.Errorf("the source was called %d times, want 2", n)
		}
	})
}

func TestCacheTellsTheCallerThatLed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSource{life: time.Hour, delay: time.Second}
		c := token.NewCache(token.CacheConfig{Source: s})
		var mu sync.Mutex
		hows := map[token.How]int{}
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				_, how, _ := c.Get(t.Context(), request, token.Ask{})
				mu.Lock()
				defer mu.Unlock()
				hows[how]++
			})
		}
		wg.Wait()
		if hows[token.Miss] != 1 || hows[token.Coalesced] != 9 {
			t.Errorf("ten callers at once came by %v, want one miss and nine coalesced", hows)
		}
	})
}

func TestCacheSharesAFailureForASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSource{life: time.Hour}
		c := token.NewCache(token.CacheConfig{Source: s})
		s.set(&token.Error{Kind: token.NotThere, Err: errors.New("Identity not found")})
		for range 10 {
			if _, err := c.Token(t.Context(), request); token.KindOf(err) != token.NotThere {
				t.Errorf("Token() failed with %v, want NotThere", err)
			}
		}
		if n := s.count(); n != 1 {
			t.Errorf("the source was called %d times, want once", n)
		}
		s.set(nil)
		time.Sleep(time.Second)
		get(t, c, "a#2", token.Miss)
	})
}

func TestCacheHonoursRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSource{life: time.Hour}
		c := token.NewCache(token.CacheConfig{Source: s})
		s.set(&token.Error{RetryAfter: 7 * time.Second, Err: errors.New("429")})
		for range 6 {
			if _, err := c.Token(t.Context(), request); err == nil {
				t.Error("Token() succeeded while the source is throttled")
			}
			time.Sleep(time.Second)
		}
		if n := s.count(); n != 1 {
			t.Errorf("the source was called %d times within its Retry-After, want once", n)
		}
	})
}

func TestCacheIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSource{life: time.Hour}
		c := token.NewCache(token.CacheConfig{Source: s, MaxEntries: 3})
		for i := range 10 {
			r := &token.Request{ClientID: "a", Resource: fmt.Sprint(i)}
			if _, err := c.Token(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		before := s.count()
		for i := 9; i >= 7; i-- { // the three that expire last are still there
			if _, how, _ := c.Get(t.Context(), &token.Request{ClientID: "a", Resource: fmt.Sprint(i)}, token.Ask{}); how != token.Hit {
				t.Errorf("resource %d came by %s, want a hit", i, how)
			}
		}
		if s.count() != before {
			t.Error("the source was asked again for what should be held")
		}
	})
}

func TestSecretHidesItself(t *testing.T) {
	s := token.Secret("eyJ0eXAi")
	for _, got := range []string{fmt.Sprint(s), fmt.Sprintf("%#v", s), fmt.Sprintf("%+v", token.Token{Value: s}), s.LogValue().String()} {
		if strings.Contains(got, "eyJ") {
			t.Errorf("a token shows itself as %q", got)
		}
	}
}
