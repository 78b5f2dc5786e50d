package compute_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/compute"
)

// tokens gives tokens that are good for a while; they are kept by what they say.
type tokens struct {
	direct
	good  time.Duration
	until map[string]time.Time
	fail  error
}

func (c *tokens) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if c.fail != nil {
		return azcore.AccessToken{}, c.fail
	}
	t, err := c.direct.GetToken(ctx, o)
	t.ExpiresOn = time.Now().Add(c.good)
	c.until[t.Token] = t.ExpiresOn
	return t, err
}

// expired reports whether a request has a token that is not good any more.
func (c *tokens) expired(r *http.Request) bool {
	until, ok := c.until[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	return !ok || time.Now().After(until)
}

func TestWhatDidNotReachAzureHasChangedNothing(t *testing.T) {
	for sentence, test := range map[string]struct {
		token, way error
		refused    bool
	}{
		"no token":                        {token: errors.New("IMDS does not answer"), refused: true},
		"nobody listens":                  {way: &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}, refused: true},
		"no way through the proxy":        {way: &net.OpError{Op: "proxyconnect", Net: "tcp", Err: errors.New("connection refused")}, refused: true},
		"somebody else answers":           {way: &tls.CertificateVerificationError{Err: errors.New("unknown authority")}, refused: true},
		"unless the answer alone is lost": {way: &net.OpError{Op: "read", Net: "tcp", Err: errors.New("connection reset by peer")}},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e, _ := inMemory(t, azemu.Config{})
				credential := &tokens{direct: direct{e}, good: -time.Hour, until: make(map[string]time.Time)}
				var fail error
				c := overMemory(t, roundTrip(func(r *http.Request) (*http.Response, error) {
					if fail != nil {
						return nil, fail
					}
					return direct{e}.RoundTrip(r)
				}), credential)
				s, err := c.Get(t.Context(), scope(t, setID))
				if err != nil {
					t.Fatal(err)
				}
				credential.fail, fail = test.token, test.way
				changes, err := c.Update(t.Context(), scope(t, setID), s, []string{id("a")}, nil)
				got, ok := errors.AsType[*compute.Error](err)
				if !ok || got.Refused != test.refused || (len(changes.Not) == 1) != test.refused || patches(e) > 0 {
					t.Errorf("%d PATCHes, Update() = %+v, %v, want that it is known that nothing was changed: %v", patches(e), changes, err, test.refused)
				}
			})
		})
	}
}

// A turn can be half an hour away, and a token is good for less than that.
func TestATokenIsGoodWhenItIsSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e, _ := inMemory(t, azemu.Config{ARMDelay: 40 * time.Second})
		credential, throttled := &tokens{direct: direct{e}, good: 20 * time.Minute, until: make(map[string]time.Time)}, false
		c := overMemory(t, roundTrip(func(r *http.Request) (*http.Response, error) {
			if credential.expired(r) {
				t.Errorf("%s %s with a token that has expired", r.Method, r.URL.Path)
			}
			answer, err := direct{e}.RoundTrip(r)
			if err == nil && strings.Contains(r.URL.Path, "/operations/") && !throttled {
				throttled = true
				answer.StatusCode = http.StatusTooManyRequests
				answer.Header.Set("Retry-After", "1500")
			}
			return answer, err
		}), credential)
		s, err := c.Get(t.Context(), scope(t, setID))
		if err != nil {
			t.Fatal(err)
		}
		if changes, err := c.Update(t.Context(), scope(t, setID), s, []string{id("a")}, nil); err != nil || len(changes.Done) != 1 || !throttled {
			t.Errorf("Update() = %+v, %v", changes, err)
		}
	})
}
