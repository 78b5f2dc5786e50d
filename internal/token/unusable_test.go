package token_test

import (
	"testing"
	"time"

	"github.com/podid-io/podid/internal/token"
)

func TestWhatIsNoTokenIsNotServed(t *testing.T) {
	tests := map[string]token.Token{
		"a quote, which would write JSON of its own": {Value: `x","client_id":"other`, ExpiresOn: time.Now().Add(time.Hour)},
		"a backslash":           {Value: `x\`, ExpiresOn: time.Now().Add(time.Hour)},
		"a line end":            {Value: "x\r\n", ExpiresOn: time.Now().Add(time.Hour)},
		"a space":               {Value: "x y", ExpiresOn: time.Now().Add(time.Hour)},
		"what is not ASCII":     {Value: "é", ExpiresOn: time.Now().Add(time.Hour)},
		"nothing":               {ExpiresOn: time.Now().Add(time.Hour)},
		"one that is over":      {Value: "x", ExpiresOn: time.Now().Add(-time.Second)},
		"one without an expiry": {Value: "x"},
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			calls := 0
			c := token.NewCache(token.CacheConfig{Source: sourceFunc(func(*token.Request) (token.Token, error) {
				calls++
				return answer, nil
			})})
			for range 3 {
				got, err := c.Token(t.Context(), request)
				if err == nil || token.KindOf(err) != token.Unavailable || got.Value != "" {
					t.Errorf("Token() = %q, %v; want it unavailable", string(got.Value), err)
				}
			}
			if o := c.Stats().Outcomes; calls != 1 || o.Issued != 0 || o.Unavailable != 1 {
				t.Errorf("%d calls counted as %+v, want one that failed", calls, o)
			}
		})
	}
}
