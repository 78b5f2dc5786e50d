package azemu_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/podid-io/podid/internal/azemu"
)

// issuer signs tokens, and shows its key.
type issuer struct {
	server *httptest.Server
	key    *rsa.PrivateKey
}

func newIssuer(t *testing.T) issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	s := httptest.NewTLSServer(mux)
	t.Cleanup(s.Close)
	show := func(path string, v any) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			if err := json.NewEncoder(w).Encode(v); err != nil {
				t.Error(err)
			}
		})
	}
	show("/.well-known/openid-configuration", map[string]string{"issuer": s.URL, "jwks_uri": s.URL + "/keys"})
	show("/keys", jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1", Algorithm: "RS256", Use: "sig"}}})
	return issuer{s, key}
}

// sign makes a token of the issuer, with its key or that of another.
func (i issuer) sign(t *testing.T, key *rsa.PrivateKey, c jwt.Claims) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: "1"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jwt.Signed(signer).Claims(c).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestFederatedCredentials(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	const subject = "system:serviceaccount:podid-system:podid-mic"
	trusted := []azemu.FederatedCredential{{Issuer: i.server.URL, Subject: subject}}
	s := seed()
	s.Apps[0].FederatedCredentials, s.Identities[0].FederatedCredentials = trusted, trusted
	w := start(t, azemu.Config{Seed: s, Issuers: i.server.Client()})
	for name, tt := range map[string]struct {
		client string
		key    *rsa.PrivateKey
		change func(*jwt.Claims)
		want   string
	}{
		"of an app":                    {},
		"of a managed identity":        {client: "client-1"},
		"of one that trusts nobody":    {client: "client-2", want: "AADSTS70025"},
		"by another issuer":            {change: func(c *jwt.Claims) { c.Issuer += "/" }, want: "AADSTS700211"},
		"for another subject":          {change: func(c *jwt.Claims) { c.Subject = strings.ToUpper(c.Subject) }, want: "AADSTS700213"},
		"for another audience":         {change: func(c *jwt.Claims) { c.Audience = jwt.Audience{"https://kubernetes.default.svc"} }, want: "AADSTS700212"},
		"signed by somebody else":      {key: other, want: "AADSTS50027"},
		"that has expired":             {change: func(c *jwt.Claims) { c.Expiry = jwt.NewNumericDate(time.Now().Add(-time.Second)) }, want: "AADSTS700024"},
		"that is not valid yet":        {change: func(c *jwt.Claims) { c.NotBefore = jwt.NewNumericDate(time.Now().Add(time.Minute)) }, want: "AADSTS700024"},
		"that does not say until when": {change: func(c *jwt.Claims) { c.Expiry = nil }, want: "AADSTS700024"},
	} {
		t.Run(name, func(t *testing.T) {
			c := jwt.Claims{Issuer: i.server.URL, Subject: subject, Audience: jwt.Audience{"api://AzureADTokenExchange"}, Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour))}
			if tt.change != nil {
				tt.change(&c)
			}
			if tt.key == nil {
				tt.key = i.key
			}
			if tt.client == "" {
				tt.client = appID
			}
			raw := i.sign(t, tt.key, c)
			credential, err := azidentity.NewClientAssertionCredential(tenant, tt.client, func(context.Context) (string, error) { return raw, nil },
				&azidentity.ClientAssertionCredentialOptions{ClientOptions: w.options(), DisableInstanceDiscovery: true})
			if err != nil {
				t.Fatal(err)
			}
			token, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{management + "/.default"}})
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), raw) {
					t.Errorf("GetToken() error = %v, want %s", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if claims := verified(t, w, token.Token); claims["appid"] != tt.client {
				t.Errorf("claims = %v", claims)
			}
		})
	}
}
