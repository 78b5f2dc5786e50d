package token_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/token"
	"github.com/podid-io/podid/test/leaks"
)

func sumOf(s token.Secret) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

func TestCacheDoesNotServeARefusedTokenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{life: 24 * time.Hour, delay: 100 * time.Millisecond}
		c := token.NewCache(token.CacheConfig{Source: s})
		first, err := c.Token(t.Context(), managed("id", "r"))
		if err != nil {
			t.Fatal(err)
		}
		a := token.Ask{Owner: "pod", Refused: strings.ToUpper(sumOf(first.Value))}
		if _, _, ok := c.Cached(managed("id", "r"), a); ok {
			t.Error("Cached() serves a refused token")
		}
		time.Sleep(time.Second)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				got, _, err := c.Get(t.Context(), managed("id", "r"), a)
				if err != nil || got.Value == first.Value {
					t.Errorf("Get() = the refused token or %v", err)
				}
			})
		}
		wg.Wait()
		if n := s.calls(); n != 2 {
			t.Errorf("%d calls, want one more for twenty callers", n)
		}
		if _, how, ok := c.Cached(managed("id", "r"), a); !ok || how != token.Hit {
			t.Error("the new token is not served to who refused the old one")
		}
		if _, how, ok := c.Cached(managed("id", "r"), token.Ask{Refused: sumOf("another")}); !ok || how != token.Hit {
			t.Error("a hash of another token changes something")
		}
	})
}

func TestARefusedTokenCostsOneCallAMinute(t *testing.T) {
	tests := map[string]func(*fakeSource){
		"the source keeps giving it": func(s *fakeSource) { s.same = true },
		"the source is down":         func(s *fakeSource) { s.err = errors.New("connection refused") },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &fakeSource{life: 24 * time.Hour}
				c := token.NewCache(token.CacheConfig{Source: s})
				first, err := c.Token(t.Context(), request)
				if err != nil {
					t.Fatal(err)
				}
				s.mu.Lock()
				spoil(s)
				s.mu.Unlock()
				before := s.count()
				for range 600 { // the pod next door would have a call each time
					got, _, err := c.Get(t.Context(), request, token.Ask{Refused: sumOf(first.Value)})
					if err != nil || got.Value != first.Value {
						t.Fatalf("Get() = %v, want what there is", err)
					}
					time.Sleep(time.Second)
				}
				if n := s.count() - before; n != 10 {
					t.Errorf("%d calls in ten minutes, want one a minute", n)
				}
			})
		})
	}
}

func TestTheSourceLearnsWhichTokenIsRefused(t *testing.T) {
	var asked []string
	s := sourceFunc(func(r *token.Request) (token.Token, error) {
		asked = append(asked, r.Refused)
		return token.Token{Value: "v", ExpiresOn: time.Now().Add(time.Hour)}, nil
	})
	c := token.NewCache(token.CacheConfig{Source: s})
	for _, refused := range []string{"", sumOf("v"), sumOf("other")} {
		if _, _, err := c.Get(t.Context(), request, token.Ask{Refused: refused}); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"", sumOf("v")}, asked); diff != "" {
		t.Errorf("the source was asked with (-want +got):\n%s", diff)
	}
}

func TestOneIdentityPushesOutNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{life: 24 * time.Hour}
		c := token.NewCache(token.CacheConfig{Source: s})
		for i := range 10 {
			for _, identity := range []string{"quiet", "shared"} {
				if _, _, err := c.Get(t.Context(), managed(identity, fmt.Sprint(i)), token.Ask{Owner: "quiet"}); err != nil {
					t.Fatal(err)
				}
			}
		}
		for i := range 500 { // a pod with the same identity asks for anything
			time.Sleep(time.Second)
			if _, _, err := c.Get(t.Context(), managed("shared", fmt.Sprint("x", i)), token.Ask{Owner: "flood"}); err != nil {
				t.Fatal(err)
			}
		}
		if n := c.Stats().Entries; n != 10+64 {
			t.Errorf("%d entries, want 10 and 64", n)
		}
		for i := range 10 {
			for _, identity := range []string{"quiet", "shared"} {
				if _, _, ok := c.Cached(managed(identity, fmt.Sprint(i)), token.Ask{}); !ok {
					t.Errorf("the token of %s for %d was pushed out", identity, i)
				}
			}
		}
	})
}

func TestTheIdentityWithTheMostGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{life: 24 * time.Hour}
		c := token.NewCache(token.CacheConfig{Source: s, MaxEntries: 12})
		for i := range 10 {
			if _, err := c.Token(t.Context(), managed("many", fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 6 {
			if _, err := c.Token(t.Context(), managed(fmt.Sprint("one", i), "r")); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 6 {
			if _, _, ok := c.Cached(managed(fmt.Sprint("one", i), "r"), token.Ask{}); !ok {
				t.Errorf("the only token of an identity gave way")
			}
		}
	})
}

func TestFailuresTakeOnlyRoomThatIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{life: 24 * time.Hour}
		c := token.NewCache(token.CacheConfig{Source: s, MaxEntries: 3})
		for i := range 2 {
			if _, err := c.Token(t.Context(), managed("good", fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		s.setDown(&token.Error{Kind: token.NotThere, Err: errors.New("Identity not found")})
		for i := range 20 {
			if _, err := c.Token(t.Context(), managed("bad", fmt.Sprint(i))); err == nil {
				t.Fatal("no failure")
			}
		}
		s.setDown(nil)
		if _, err := c.Token(t.Context(), managed("third", "r")); err != nil { // in the place of a failure
			t.Fatal(err)
		}
		for i := range 2 {
			if _, _, ok := c.Cached(managed("good", fmt.Sprint(i)), token.Ask{}); !ok {
				t.Error("a failure pushed out a token")
			}
		}
	})
}

func TestAWrongSecretNeverMeetsTheRightOnesToken(t *testing.T) {
	s := sourceFunc(func(r *token.Request) (token.Token, error) {
		if r.Credential.ClientSecret != "right" {
			return token.Token{}, &token.Error{Kind: token.Rejected, Err: errors.New("AADSTS7000215")}
		}
		return token.Token{Value: "v", ExpiresOn: time.Now().Add(time.Hour)}, nil
	})
	c := token.NewCache(token.CacheConfig{Source: s})
	for i, tc := range []struct {
		secret string
		fails  bool
	}{{"wrong", true}, {"right", false}, {"wrong", true}, {"right", false}, {"", true}, {"right ", true}} {
		r := &token.Request{
			Type: v1.ServicePrincipal, TenantID: "t", ClientID: "c", Resource: "r", Authority: "https://login.microsoftonline.com",
			Credential: token.NewCredential(tc.secret, "", ""),
		}
		if _, err := c.Token(t.Context(), r); (err != nil) != tc.fails {
			t.Errorf("%d: with the secret %q Token() = %v", i, tc.secret, err)
		}
	}
}

func TestCacheReadsWhoseTokenItIs(t *testing.T) {
	jwt := func(payload string) token.Secret {
		return token.Secret("e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln")
	}
	tests := map[string]struct {
		value               token.Secret
		wantOID, wantTenant string
	}{
		"a token of Entra ID":     {value: jwt(`{"oid":"ABC-1","tid":"DEF-2","sub":"x"}`), wantOID: "abc-1", wantTenant: "def-2"},
		"one without the claims":  {value: jwt(`{"sub":"x"}`)},
		"claims that are no text": {value: jwt(`{"oid":7}`)},
		"a list":                  {value: jwt(`[]`)},
		"an opaque token":         {value: "opaque"},
		"dots and nothing":        {value: ".."},
		"no base64":               {value: "a.!!!.c"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := token.NewCache(token.CacheConfig{Source: sourceFunc(func(*token.Request) (token.Token, error) {
				return token.Token{Value: tc.value, ExpiresOn: time.Now().Add(time.Hour)}, nil
			})})
			got, err := c.Token(t.Context(), request)
			if err != nil || got.ObjectID != tc.wantOID || got.TenantID != tc.wantTenant || got.Digest != sumOf(tc.value)[:16] {
				t.Errorf("Token() has oid %q, tid %q, digest %q, %v", got.ObjectID, got.TenantID, got.Digest, err)
			}
		})
	}
}

func TestAHitAllocatesNothing(t *testing.T) {
	c := token.NewCache(token.CacheConfig{Source: &fakeSource{life: 24 * time.Hour}})
	if _, err := c.Token(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1000, func() {
		if _, how, ok := c.Cached(request, token.Ask{Owner: "pod"}); !ok || how != token.Hit {
			t.Error("no hit")
		}
	}); n != 0 {
		t.Errorf("a hit allocates %v times", n)
	}
}

func TestStatsCountWhatCameOfCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSource{life: time.Hour}
		c := token.NewCache(token.CacheConfig{Source: s})
		get(t, c, "a#1", token.Miss)
		ends := time.Now().Add(time.Hour)
		for _, err := range []error{
			&token.Error{Kind: token.NotThere, Err: errors.New("x")}, &token.Error{Kind: token.Rejected, Err: errors.New("x")}, errors.New("x"),
		} {
			s.set(err)
			if _, err := c.Token(t.Context(), managed(err.Error(), fmt.Sprint(token.KindOf(err)))); err == nil {
				t.Error("no failure")
			}
		}
		want := token.Stats{Entries: 4, SoonestExpiry: ends, Outcomes: token.Outcomes{Issued: 1, Unavailable: 1, NotThere: 1, Rejected: 1}}
		if diff := cmp.Diff(want, c.Stats()); diff != "" {
			t.Errorf("Stats() (-want +got):\n%s", diff)
		}
	})
}

// sourceFunc is a source that answers at once.
type sourceFunc func(*token.Request) (token.Token, error)

func (f sourceFunc) Token(_ context.Context, r *token.Request) (token.Token, error) { return f(r) }

func TestMain(m *testing.M) { leaks.Main(m) }
