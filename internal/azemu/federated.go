package azemu

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// FederatedCredential has an app or identity sign in with a token of somebody
// else. All is compared as it is written, case and slashes included.
type FederatedCredential struct {
	// Issuer is the https URL below which /.well-known/openid-configuration is.
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
	// Audiences are those of the token. The default is api://AzureADTokenExchange.
	Audiences []string `json:"audiences,omitempty"`
}

// exchangeAudience is the audience of tokens that are made to be exchanged.
const exchangeAudience = "api://AzureADTokenExchange"

// federation is how long the keys of an issuer may take.
const federation = 10 * time.Second

// signedByItself reports whether an assertion says that the client itself made it,
// or that it was made with a certificate.
func signedByItself(raw, client string) bool {
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.PS256, jose.RS256})
	if err != nil {
		return true // which refuses it
	}
	for _, header := range []jose.HeaderKey{"x5t", "x5t#S256"} {
		if _, named := token.Headers[0].ExtraHeaders[header]; named {
			return true
		}
	}
	var c jwt.Claims
	return token.UnsafeClaimsWithoutVerification(&c) != nil || strings.EqualFold(c.Issuer, client)
}

// federated checks a token of somebody else: that a credential is for it, and that
// the issuer signed it, by the keys that the issuer shows now.
func (e *Emulator) federated(ctx context.Context, client, raw string, credentials []FederatedCredential, now time.Time) *entraError {
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256})
	var c jwt.Claims
	if err == nil {
		err = token.UnsafeClaimsWithoutVerification(&c)
	}
	if err != nil {
		return refuse(http.StatusBadRequest, "invalid_request", 50027, "JWT token is invalid or malformed.")
	}
	if refused := matching(client, c, credentials); refused != nil {
		return refused
	}
	keys, err := e.keysOf(ctx, c.Issuer)
	if err == nil {
		err = token.Claims(keys, &c)
	}
	if err != nil {
		return refuse(http.StatusBadRequest, "invalid_request", 50027, "JWT token is invalid or malformed: %s.", err)
	}
	if c.Expiry == nil || !now.Before(c.Expiry.Time()) || c.NotBefore != nil && now.Before(c.NotBefore.Time()) {
		return refuse(http.StatusUnauthorized, "invalid_client", 700024, "Client assertion is not within its valid time range. Current time: %s, assertion valid from %s, expiry time of assertion %s.",
			now.UTC().Format(time.RFC3339), stamp(c.NotBefore), stamp(c.Expiry))
	}
	return nil
}

// matching asks whether a credential is for a token, and says what is not.
func matching(client string, c jwt.Claims, credentials []FederatedCredential) *entraError {
	const advice = "Please check your federated identity credential Subject, Audience and Issuer against the presented assertion."
	by := func(match func(FederatedCredential) bool) bool {
		credentials = slices.DeleteFunc(slices.Clone(credentials), func(f FederatedCredential) bool { return !match(f) })
		return len(credentials) > 0
	}
	switch {
	case len(credentials) == 0:
		return refuse(http.StatusUnauthorized, "invalid_client", 70025, "The client '%s' has no configured federated identity credentials.", client)
	case !by(func(f FederatedCredential) bool { return f.Issuer == c.Issuer }):
		return refuse(http.StatusUnauthorized, "invalid_client", 700211, "No matching federated identity record found for presented assertion issuer '%s'. %s", c.Issuer, advice)
	case !by(func(f FederatedCredential) bool { return f.Subject == c.Subject }):
		return refuse(http.StatusUnauthorized, "invalid_client", 700213, "No matching federated identity record found for presented assertion subject '%s'. %s", c.Subject, advice)
	case !by(func(f FederatedCredential) bool { return slices.ContainsFunc(f.audiences(), c.Audience.Contains) }):
		return refuse(http.StatusUnauthorized, "invalid_client", 700212, "No matching federated identity record found for presented assertion audience '%s'. %s", strings.Join(c.Audience, ","), advice)
	default:
		return nil
	}
}

func (f FederatedCredential) audiences() []string {
	if len(f.Audiences) == 0 {
		return []string{exchangeAudience}
	}
	return f.Audiences
}

// keysOf reads the keys that an issuer shows.
func (e *Emulator) keysOf(ctx context.Context, issuer string) (*jose.JSONWebKeySet, error) {
	ctx, cancel := context.WithTimeout(ctx, federation)
	defer cancel()
	var discovery struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := e.fetch(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", &discovery); err != nil {
		return nil, err
	}
	if discovery.Issuer != issuer {
		return nil, fmt.Errorf("the issuer %q says that it is %q", issuer, discovery.Issuer)
	}
	keys := &jose.JSONWebKeySet{}
	return keys, e.fetch(ctx, discovery.Keys, keys)
}

// fetch reads JSON, over TLS and nothing less.
func (e *Emulator) fetch(ctx context.Context, url string, into any) error {
	if !strings.HasPrefix(url, "https://") {
		return fmt.Errorf("%q is no https URL", url)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := e.config.Issuers.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // was only read
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return json.NewDecoder(http.MaxBytesReader(nil, resp.Body, longestBody)).Decode(into)
}
