package entra_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/entra"
	"github.com/podid-io/podid/internal/token"
)

const (
	tenant      = "11111111-2222-3333-4444-555555555555"
	otherTenant = "66666666-7777-8888-9999-aaaaaaaaaaaa"
	appID       = "aaaaaaaa-0000-0000-0000-000000000001"
	appSecret   = "s3cret +/&=%"
)

// directory is Entra ID on loopback.
type directory struct {
	*azemu.Emulator
	url string
}

func newDirectory(t *testing.T, app azemu.App) directory {
	t.Helper()
	app.ClientID = appID
	e, err := azemu.New(azemu.Config{Seed: azemu.State{Tenant: tenant, Apps: []azemu.App{app}}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(e.Azure())
	server.TLS = e.TLS()
	server.StartTLS()
	t.Cleanup(func() { e.Close(); server.Close() })
	return directory{e, server.URL}
}

func (d directory) allowed(authority string) bool { return authority == d.url }

// applications is the source that trusts and may ask d.
func (d directory) applications(t *testing.T) *entra.Applications {
	t.Helper()
	a, err := entra.NewApplications(entra.ApplicationsConfig{CA: d.CA(), Allowed: d.allowed})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func (d directory) request(change func(*token.Request)) *token.Request {
	r := &token.Request{
		Type: v1.ServicePrincipal, Authority: d.url, TenantID: tenant, ClientID: appID, Resource: resource,
		Credential: token.NewCredential(appSecret, "", ""),
	}
	if change != nil {
		change(r)
	}
	return r
}

func TestApplicationsSignInWithASecret(t *testing.T) {
	d := newDirectory(t, azemu.App{Secrets: []string{appSecret}, Tenants: []string{tenant, otherTenant}})
	source := d.applications(t)
	secret := func(s string) func(*token.Request) {
		return func(r *token.Request) { r.Credential = token.NewCredential(s, "", "") }
	}
	tests := map[string]struct {
		change   func(*token.Request)
		wantText string // of the refusal; empty: a token
	}{
		"the right secret":                {},
		"in another tenant":               {change: func(r *token.Request) { r.TenantID = otherTenant }},
		"with claims challenges":          {change: func(r *token.Request) { r.Capabilities = "cp1" }},
		"a wrong secret":                  {change: secret("wr0ng-secret"), wantText: "AADSTS7000215: the client secret of application " + appID + " is wrong"},
		"no secret":                       {change: secret(""), wantText: "empty"},
		"an unknown application":          {change: func(r *token.Request) { r.ClientID = "nobody" }, wantText: "AADSTS700016"},
		"an unknown tenant":               {change: func(r *token.Request) { r.TenantID = "nowhere" }, wantText: "AADSTS90002"},
		"a tenant that is a path":         {change: func(r *token.Request) { r.TenantID = "../evil" }, wantText: ""},
		"no tenant":                       {change: func(r *token.Request) { r.TenantID = "" }, wantText: "no tenant id"},
		"no credential":                   {change: func(r *token.Request) { r.Credential = nil }, wantText: "no credential"},
		"a managed identity":              {change: func(r *token.Request) { r.Type = v1.UserAssignedMSI }, wantText: "identity type 0"},
		"an authority without encryption": {change: func(r *token.Request) { r.Authority = "http" + strings.TrimPrefix(d.url, "https") }, wantText: "want https"},
		"an authority with a path":        {change: func(r *token.Request) { r.Authority += "/x" }, wantText: "want https"},
		"an authority with a user":        {change: func(r *token.Request) { r.Authority = "https://login.microsoftonline.com@evil.example" }, wantText: "want https"},
		"an authority on another port":    {change: func(r *token.Request) { r.Authority = "https://login.microsoftonline.com:8443" }, wantText: "not one that credentials may be sent to"},
		"an authority of somebody":        {change: func(r *token.Request) { r.Authority = "https://evil.example" }, wantText: "not one that credentials may be sent to"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := source.Token(t.Context(), d.request(tt.change))
			if tt.wantText != "" || name == "a tenant that is a path" {
				if err == nil || token.KindOf(err) != token.Rejected || !strings.Contains(err.Error(), tt.wantText) {
					t.Errorf("Token() = %v, want it rejected with %q", err, tt.wantText)
				}
				return
			}
			if err != nil || got.Value == "" || time.Until(got.ExpiresOn) < 50*time.Minute || got.ClientID != appID {
				t.Errorf("Token() = %+v, %v", got, err)
			}
		})
	}
}

func TestApplicationsAskAgainEveryTime(t *testing.T) {
	d := newDirectory(t, azemu.App{Secrets: []string{appSecret}})
	source := d.applications(t)
	first, err := source.Token(t.Context(), d.request(nil))
	if err != nil {
		t.Fatal(err)
	}
	again, err := source.Token(t.Context(), d.request(nil))
	if err != nil || again.Value == first.Value {
		t.Errorf("a second call gave the same token, or %v: freshness is the cache's", err)
	}
	if err := d.MergeState(azemu.State{Apps: []azemu.App{{ClientID: appID, Secrets: []string{"rotated"}}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := source.Token(t.Context(), d.request(nil)); token.KindOf(err) != token.Rejected || err == nil {
		t.Errorf("with a secret that was taken away: %v", err)
	}
}

func TestTheSlashAtTheEndOfAResourceStays(t *testing.T) {
	d := newDirectory(t, azemu.App{Secrets: []string{appSecret}})
	cache := token.NewCache(token.CacheConfig{Source: d.applications(t)})
	for _, want := range []string{"https://vault.azure.net", "https://vault.azure.net/"} {
		got, err := cache.Token(t.Context(), d.request(func(r *token.Request) { r.Resource = want }))
		if err != nil {
			t.Fatal(err)
		}
		if aud := audience(t, got.Value); aud != want {
			t.Errorf("a token for %q, want it for %q", aud, want)
		}
		if got.TenantID != tenant || got.ObjectID == "" {
			t.Errorf("the token is of tenant %q and object %q", got.TenantID, got.ObjectID)
		}
	}
}

func TestApplicationsSayWhatFailed(t *testing.T) {
	d := newDirectory(t, azemu.App{Secrets: []string{appSecret}})
	source := d.applications(t)
	tests := map[string]struct {
		fault     azemu.Fault
		wantKind  token.Kind
		wantAfter time.Duration
	}{
		"throttled":             {azemu.Fault{Status: 429, RetryAfter: azemu.Duration(9 * time.Second)}, token.Unavailable, 9 * time.Second},
		"down":                  {azemu.Fault{Status: 503}, token.Unavailable, 0},
		"refused":               {azemu.Fault{Status: 400, Code: "invalid_request"}, token.Rejected, 0},
		"a text that leaks":     {azemu.Fault{Status: 401, Code: "invalid_client", Message: "you sent " + appSecret + " or " + url.QueryEscape(appSecret)}, token.Rejected, 0},
		"a text with a token":   {azemu.Fault{Status: 401, Code: "invalid_client", Message: "assertion " + strings.Repeat("eyJ", 200)}, token.Rejected, 0},
		"a text without an end": {azemu.Fault{Status: 400, Code: "x", Message: strings.Repeat("word ", 1000)}, token.Rejected, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := d.SetFault(azemu.EndpointEntraToken, tt.fault); err != nil {
				t.Fatal(err)
			}
			before := d.Counters()[azemu.EndpointEntraToken].Calls
			_, err := source.Token(t.Context(), d.request(nil))
			got, ok := errors.AsType[*token.Error](err)
			if !ok || got.Kind != tt.wantKind || got.RetryAfter != tt.wantAfter {
				t.Errorf("Token() = %+v, want kind %d and Retry-After %s", err, tt.wantKind, tt.wantAfter)
			}
			text := err.Error()
			if strings.Contains(text, appSecret) || strings.Contains(text, url.QueryEscape(appSecret)) || strings.Contains(text, "eyJeyJ") || len(text) > 600 || strings.Contains(text, "\n") {
				t.Errorf("the error shows too much: %s", text)
			}
			if n := d.Counters()[azemu.EndpointEntraToken].Calls - before; n != 1 {
				t.Errorf("%d calls, want one: retries are the caller's", n)
			}
		})
	}
}

func TestApplicationsAreUnavailableWithoutANetwork(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	server.Close() // nobody listens there any more
	d := directory{url: server.URL}
	a, err := entra.NewApplications(entra.ApplicationsConfig{Allowed: d.allowed})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	r := d.request(nil)
	if _, err := a.Token(t.Context(), r); err == nil || token.KindOf(err) != token.Unavailable || strings.Contains(err.Error(), appSecret) {
		t.Errorf("Token() = %v, want it unavailable", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Token(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("Token() = %v, want the caller's own end", err)
	}
}

func TestApplicationsTrustOnlyWhomTheyAreTold(t *testing.T) {
	d := newDirectory(t, azemu.App{Secrets: []string{appSecret}})
	a, err := entra.NewApplications(entra.ApplicationsConfig{Allowed: d.allowed})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	if _, err := a.Token(t.Context(), d.request(nil)); err == nil || token.KindOf(err) != token.Unavailable {
		t.Errorf("Token() = %v, want a host with an unknown authority refused", err)
	}
	if n := d.Counters()[azemu.EndpointEntraToken].Calls; n != 0 {
		t.Errorf("a secret went to a host that is not trusted")
	}
	if _, err := entra.NewApplications(entra.ApplicationsConfig{CA: []byte("rubbish")}); err == nil {
		t.Error("rubbish was taken for an authority")
	}
}

func TestApplicationsUseTheProxy(t *testing.T) {
	d := newDirectory(t, azemu.App{Secrets: []string{appSecret}})
	asked := make(chan string, 10)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Method + " " + r.Host
		http.Error(w, "no", http.StatusBadGateway)
	}))
	t.Cleanup(proxy.Close)
	via, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	a, err := entra.NewApplications(entra.ApplicationsConfig{CA: d.CA(), Proxy: http.ProxyURL(via), Allowed: d.allowed})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	if _, err := a.Token(t.Context(), d.request(nil)); err == nil || token.KindOf(err) != token.Unavailable {
		t.Errorf("Token() = %v", err)
	}
	if got := <-asked; got != "CONNECT "+strings.TrimPrefix(d.url, "https://") {
		t.Errorf("the proxy was asked to %s", got)
	}
}

func TestSourcesAskTheOneForTheType(t *testing.T) {
	s := entra.Sources{Managed: constant("managed"), Applications: constant("application")}
	tests := map[string]struct {
		kind v1.IdentityType
		from entra.Sources
		want token.Secret
	}{
		"a managed identity": {v1.UserAssignedMSI, s, "managed"},
		"a secret":           {v1.ServicePrincipal, s, "application"},
		"a certificate":      {v1.ServicePrincipalCertificate, s, "application"},
		"a type of ours":     {3, s, ""},
		"no type at all":     {-1, s, ""},
		"no source for it":   {v1.ServicePrincipal, entra.Sources{Managed: s.Managed}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := tt.from.Token(t.Context(), &token.Request{Type: tt.kind})
			if string(got.Value) != string(tt.want) || (err == nil) != (tt.want != "") || (err != nil && token.KindOf(err) != token.Rejected) {
				t.Errorf("Token() = %q, %v", string(got.Value), err)
			}
		})
	}
}

// constant is a source of one token.
type constant token.Secret

func (c constant) Token(context.Context, *token.Request) (token.Token, error) {
	return token.Token{Value: token.Secret(c)}, nil
}

func TestCredentialsGoToAzuresCloudsOnlyByDefault(t *testing.T) {
	a, err := entra.NewApplications(entra.ApplicationsConfig{Proxy: func(r *http.Request) (*url.URL, error) {
		return nil, errors.New("this far and no further: " + r.URL.Host)
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	for authority, want := range map[string]token.Kind{
		"https://login.microsoftonline.us":               token.Unavailable,
		"https://login.partner.microsoftonline.cn":       token.Unavailable,
		"https://login.microsoftonline.com.evil.example": token.Rejected,
		"https://login.microsoftonline.com:8443":         token.Rejected,
		"https://evil.example":                           token.Rejected,
	} {
		_, err := a.Token(t.Context(), directory{url: authority}.request(nil))
		if err == nil || token.KindOf(err) != want {
			t.Errorf("for %s Token() = %v, want kind %d", authority, err, want)
		}
	}
}
