package token_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/token"
)

// directory signs applications in, and remembers with which secrets.
type directory struct {
	life time.Duration

	mu      sync.Mutex
	posts   map[string]int   // guarded by mu: sign-ins by secret
	refuses map[string]error // guarded by mu: what a secret is answered with
	down    error            // guarded by mu
}

func newDirectory(life time.Duration) *directory {
	return &directory{life: life, posts: map[string]int{}, refuses: map[string]error{}}
}

func (d *directory) Token(_ context.Context, r *token.Request) (token.Token, error) {
	time.Sleep(50 * time.Millisecond)
	d.mu.Lock()
	defer d.mu.Unlock()
	secret := string(r.Credential.ClientSecret)
	d.posts[secret]++
	if err := errors.Join(d.down, d.refuses[secret]); err != nil {
		return token.Token{}, err
	}
	return token.Token{Value: token.Secret(fmt.Sprintf("%s.%d", secret, time.Now().UnixNano())), ExpiresOn: time.Now().Add(d.life)}, nil
}

func (d *directory) postsOf(secret string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.posts[secret]
}

func (d *directory) refuse(secret string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refuses[secret] = err
}

func (d *directory) setDown(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = err
}

func withSecret(secret string) *token.Request {
	return &token.Request{
		Type: v1.ServicePrincipal, TenantID: "t", ClientID: "app", Resource: "r", Authority: "https://login.microsoftonline.com",
		Credential: token.NewCredential(secret, "", ""),
	}
}

// signIn fails the test unless there is a token for secret.
func signIn(t *testing.T, c *token.Cache, secret string) token.How {
	t.Helper()
	_, how, err := c.Get(t.Context(), withSecret(secret), token.Ask{Owner: "pod"})
	if err != nil {
		t.Errorf("Get() with the secret %q = %v", secret, err)
	}
	return how
}

var errWrongSecret = &token.Error{Kind: token.Rejected, Err: errors.New("AADSTS7000215")}

func TestASecretThatWasReplacedIsNotUsedAgain(t *testing.T) {
	for name, refused := range map[string]error{"while it still works": nil, "when it was taken away": errWrongSecret} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDirectory(time.Hour)
				c := token.NewCache(token.CacheConfig{Source: d})
				start(t, c)
				signIn(t, c, "old")
				time.Sleep(20 * time.Minute)
				signIn(t, c, "old")
				d.refuse("old", refused)
				for range 30 * 60 {
					signIn(t, c, "new")
					time.Sleep(time.Minute)
					if left := time.Until(c.Stats().SoonestExpiry); left < 29*time.Minute {
						t.Fatalf("the first token in use expires in %s: it is the old secret's", left)
					}
				}
				if n := d.postsOf("old"); n != 1 {
					t.Errorf("the old secret was sent %d times, want once", n)
				}
				if n := c.Stats().Entries; n != 1 {
					t.Errorf("%d entries, want the new secret's alone", n)
				}
			})
		})
	}
}

func TestTheTokenOfAReplacedSecretGoesWhenItIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := token.NewCache(token.CacheConfig{Source: newDirectory(10 * time.Hour)})
		start(t, c)
		signIn(t, c, "old")
		time.Sleep(time.Hour)
		signIn(t, c, "new")
		time.Sleep(4*time.Hour + time.Minute) // past half of the old one's life
		if n := c.Stats().Entries; n != 1 {
			t.Errorf("%d entries, want the new secret's alone", n)
		}
	})
}

func TestASecretThatComesBackIsUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory(time.Hour)
		c := token.NewCache(token.CacheConfig{Source: d})
		start(t, c)
		signIn(t, c, "right")
		d.refuse("wrong", errWrongSecret)
		for range 40 { // past the renewal
			if _, err := c.Token(t.Context(), withSecret("wrong")); err == nil {
				t.Fatal("no failure")
			}
			time.Sleep(time.Minute)
		}
		if n := d.postsOf("right"); n != 1 {
			t.Errorf("the secret was sent %d times, want once until it is asked with again", n)
		}
		if how := signIn(t, c, "right"); how != token.Hit {
			t.Errorf("its token came by %s, want a hit", how)
		}
		time.Sleep(time.Second)
		if n := d.postsOf("right"); n != 2 {
			t.Errorf("the secret was sent %d times, want its token renewed as soon as it is wanted", n)
		}
	})
}

// Two namespaces can have Secrets of their own for one application.
func TestTwoSecretsOfOneApplicationLiveTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory(time.Hour)
		c := token.NewCache(token.CacheConfig{Source: d})
		start(t, c)
		for i := range 6 * 60 * 6 {
			for _, secret := range []string{"one", "two"} {
				if how := signIn(t, c, secret); i > 0 && how != token.Hit {
					t.Fatalf("%d: the token of the secret %q came by %s", i, secret, how)
				}
				time.Sleep(5 * time.Second)
			}
		}
		for _, secret := range []string{"one", "two"} {
			if n := d.postsOf(secret); n < 12 || n > 18 {
				t.Errorf("the secret %q was sent %d times in six hours, want once per half life", secret, n)
			}
		}
	})
}

// The pod next door names our application and makes up secrets.
func TestMadeUpSecretsDoNotStopRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory(time.Hour)
		c := token.NewCache(token.CacheConfig{Source: d})
		start(t, c)
		signIn(t, c, "right")
		for i := range 3 * 60 * 60 {
			wrong := fmt.Sprint("wrong", i)
			d.refuse(wrong, errWrongSecret)
			if _, _, err := c.Get(t.Context(), withSecret(wrong), token.Ask{Owner: "next door"}); err == nil {
				t.Fatal("no failure")
			}
			if i%60 == 30 {
				if how := signIn(t, c, "right"); how != token.Hit {
					t.Fatalf("our token came by %s after %d seconds", how, i)
				}
			}
			time.Sleep(time.Second)
		}
		if n := d.postsOf("right"); n < 6 {
			t.Errorf("our secret was sent %d times in three hours, want renewals", n)
		}
	})
}

func TestAnApplicationIsRenewedOnceForWhoeverAskedLast(t *testing.T) {
	tests := map[string]struct {
		refused error
		asks    int // one a minute
		want    int // sign-ins in ten hours
	}{
		"it works, and its Secret is gone":         {asks: 1, want: 2},
		"it was asked for until it was due":        {asks: 40, want: 3},
		"it is refused, and its Secret is gone":    {asks: 1, refused: errWrongSecret, want: 2},
		"Entra ID is down, and its Secret is gone": {asks: 1, refused: errors.New("connection refused"), want: 40}, // until it expires
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDirectory(time.Hour)
				c := token.NewCache(token.CacheConfig{Source: d})
				start(t, c)
				for range tc.asks {
					signIn(t, c, "s")
					time.Sleep(time.Minute)
				}
				d.refuse("s", tc.refused)
				time.Sleep(10 * time.Hour)
				if n := d.postsOf("s"); n < 2 || n > tc.want {
					t.Errorf("the secret was sent %d times, want at most %d", n, tc.want)
				}
				if n := c.Stats().Entries; n != 0 {
					t.Errorf("%d entries are left", n)
				}
			})
		})
	}
}

func TestApplicationsRideThroughAnOutage(t *testing.T) {
	tests := map[string]struct{ life, outage, pause time.Duration }{
		"ten hours with tokens of a day":                 {life: 24 * time.Hour, outage: 10 * time.Hour, pause: time.Minute},
		"twenty minutes with tokens of an hour":          {life: time.Hour, outage: 20 * time.Minute, pause: 15 * time.Second},
		"twenty minutes, and asked every twelve minutes": {life: time.Hour, outage: 20 * time.Minute, pause: 12 * time.Minute},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDirectory(tc.life)
				c := token.NewCache(token.CacheConfig{Source: d})
				start(t, c)
				signIn(t, c, "s")
				for n := range 5 { // the worst moment: just before a renewal
					for d.postsOf("s") == n+1 {
						signIn(t, c, "s")
						time.Sleep(tc.pause)
					}
				}
				time.Sleep(tc.life*2/5 - tc.pause)
				d.setDown(errors.New("connection refused"))
				for end := time.Now().Add(tc.outage); time.Now().Before(end); time.Sleep(tc.pause) {
					signIn(t, c, "s")
				}
			})
		})
	}
}
