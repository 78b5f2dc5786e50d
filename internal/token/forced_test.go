package token_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podid-io/podid/internal/token"
)

func TestAForcedCallCountsOnlyWhenItRan(t *testing.T) {
	tests := map[string]func(*testing.T, *token.Cache, *token.Request, token.Ask){
		"who gave up in the queue": func(t *testing.T, c *token.Cache, r *token.Request, a token.Ask) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			_, _, _ = c.Get(ctx, r, a)
		},
		"who had too many waiting": func(t *testing.T, c *token.Cache, r *token.Request, a token.Ask) {
			t.Helper()
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			defer wg.Wait()
			defer cancel()
			for i := range 32 {
				wg.Go(func() { _, _, _ = c.Get(ctx, managed("mine", fmt.Sprint(i)), a) })
			}
			synctest.Wait()
			if _, how, err := c.Get(t.Context(), r, a); how != token.Stale || err != nil {
				t.Errorf("Get() = %s, %v; want what there is", how, err)
			}
		},
	}
	for name, waste := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &service{life: 24 * time.Hour}
				c := token.NewCache(token.CacheConfig{Source: s})
				first, err := c.Token(t.Context(), managed("id", "r"))
				if err != nil {
					t.Fatal(err)
				}
				s.setDelay(5 * time.Second)
				var wg sync.WaitGroup
				defer wg.Wait()
				for i := range 5 { // all that may be under way
					wg.Go(func() {
						_, _, _ = c.Get(t.Context(), managed("other", fmt.Sprint(i)), token.Ask{Owner: fmt.Sprint(i)})
					})
				}
				synctest.Wait()
				refused := sumOf(first.Value)
				waste(t, c, managed("id", "r"), token.Ask{Owner: "next door", Refused: refused})
				s.setDelay(0)
				time.Sleep(10 * time.Second)
				got, how, err := c.Get(t.Context(), managed("id", "r"), token.Ask{Owner: "pod", Refused: refused})
				if err != nil || got.Value == first.Value || how != token.Miss {
					t.Errorf("Get() = %s, %v; want a token that is not refused", how, err)
				}
			})
		})
	}
}

func TestARefusalReachesACallThatIsQueuedAlready(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		asked := map[string]string{} // by resource: which token is refused
		open := make(chan struct{})
		c := token.NewCache(token.CacheConfig{Source: sourceFunc(func(r *token.Request) (token.Token, error) {
			if r.Resource != "r" {
				<-open
			}
			mu.Lock()
			defer mu.Unlock()
			asked[r.Resource] = r.Refused
			return token.Token{Value: token.Secret(r.Resource + r.Refused), ExpiresOn: time.Now().Add(time.Hour)}, nil
		})})
		first, err := c.Token(t.Context(), managed("id", "r"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(55 * time.Minute)
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				_, _, _ = c.Get(t.Context(), managed("other", fmt.Sprint(i)), token.Ask{Owner: fmt.Sprint(i)})
			})
		}
		synctest.Wait()
		for _, refused := range []string{"", sumOf(first.Value)} {
			wg.Go(func() {
				got, _, err := c.Get(t.Context(), managed("id", "r"), token.Ask{Owner: "pod", Refused: refused})
				if err != nil || got.Value == first.Value {
					t.Errorf("Get() = the refused token, %v", err)
				}
			})
			synctest.Wait()
		}
		close(open)
		wg.Wait()
		if asked["r"] != sumOf(first.Value) {
			t.Error("the source did not learn which token is refused")
		}
	})
}

func TestARefusalThatJoinsACallUnderWayHasOneOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := token.NewCache(token.CacheConfig{Source: sourceFunc(func(r *token.Request) (token.Token, error) {
			time.Sleep(time.Second)
			return token.Token{Value: token.Secret("same" + r.Refused), ExpiresOn: time.Now().Add(9 * time.Minute)}, nil
		})})
		first, err := c.Token(t.Context(), managed("id", "r"))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() { _, _, _ = c.Get(t.Context(), managed("id", "r"), token.Ask{}) }) // wants a longer one
		synctest.Wait()
		got, _, err := c.Get(t.Context(), managed("id", "r"), token.Ask{Refused: sumOf(first.Value)})
		if err != nil || got.Value == first.Value {
			t.Errorf("Get() = the refused token, %v", err)
		}
	})
}
