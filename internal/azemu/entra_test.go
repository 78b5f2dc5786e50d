package azemu_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/internal/azemu"
)

// verified checks a token as a service would: against the published keys.
func verified(t *testing.T, w world, raw string) map[string]any {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/"+tenant+"/discovery/v2.0/keys", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var set jose.JSONWebKeySet
	if err := json.NewDecoder(resp.Body).Decode(&set); err != nil {
		t.Fatalf("keys: %v", err)
	}
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatalf("token: %v", err)
	}
	keys := set.Key(token.Headers[0].KeyID)
	if len(keys) != 1 {
		t.Fatalf("%d keys have the id %q, want 1", len(keys), token.Headers[0].KeyID)
	}
	var claims map[string]any
	var times jwt.Claims
	if err := token.Claims(keys[0].Key, &claims, &times); err != nil {
		t.Fatalf("token does not verify: %v", err)
	}
	if err := times.ValidateWithLeeway(jwt.Expected{Time: time.Now()}, 0); err != nil {
		t.Errorf("token is not valid now: %v", err)
	}
	for _, name := range []string{"iat", "nbf", "exp", "uti", "jti"} {
		if claims[name] == nil {
			t.Errorf("token has no claim %s", name)
		}
		delete(claims, name)
	}
	return claims
}

func TestClientSecretCredential(t *testing.T) {
	t.Parallel()
	w := start(t, azemu.Config{})
	tests := map[string]struct {
		tenant, id, secret string
		wantErr            string
	}{
		"a right secret gets a token":            {tenant: tenant, id: appID, secret: appSecret},
		"each of an app's secrets is right":      {tenant: tenant, id: appID, secret: "old"},
		"the case of the client id is no matter": {tenant: tenant, id: strings.ToUpper(appID), secret: appSecret},
		"a wrong secret is refused":              {tenant: tenant, id: appID, secret: "wrong", wantErr: "AADSTS7000215"},
		"an unknown app is refused":              {tenant: tenant, id: "nobody", secret: appSecret, wantErr: "AADSTS700016"},
		"an unknown tenant is refused":           {tenant: "elsewhere", id: appID, secret: appSecret, wantErr: "AADSTS90002"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			token, err := w.credential(t, tt.tenant, tt.id, tt.secret).
				GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net//.default"}})
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("GetToken() error = %v, want %s", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatalf("GetToken: %v", err)
			}
			want := map[string]any{
				"aud": "https://vault.azure.net/", "iss": w.url + "/" + tenant + "/v2.0", "ver": "2.0",
				"appid": appID, "azp": appID, "oid": appObject, "sub": appObject, "tid": tenant,
				"idp": "https://sts.windows.net/" + tenant + "/", "idtyp": "app",
			}
			if diff := cmp.Diff(want, verified(t, w, token.Token)); diff != "" {
				t.Errorf("claims (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTokenEndpoint(t *testing.T) {
	t.Parallel()
	w := start(t, azemu.Config{})
	type answer struct {
		Status int
		Error  string
		Codes  []any
	}
	const scope = "https://vault.azure.net/.default"
	tests := map[string]struct {
		form        url.Values
		user, basic string
		want        answer
	}{
		"a secret in the body": {
			form: url.Values{"grant_type": {"client_credentials"}, "client_id": {appID}, "client_secret": {appSecret}, "scope": {scope}},
			want: answer{Status: 200},
		},
		"a secret in the header": {
			form: url.Values{"grant_type": {"client_credentials"}, "scope": {scope}}, user: appID, basic: appSecret,
			want: answer{Status: 200},
		},
		"a wrong secret in the header": {
			form: url.Values{"grant_type": {"client_credentials"}, "scope": {scope}}, user: appID, basic: "wrong",
			want: answer{401, "invalid_client", []any{7000215.0}},
		},
		"no grant": {
			form: url.Values{"client_id": {appID}, "client_secret": {appSecret}, "scope": {scope}},
			want: answer{400, "invalid_request", []any{900144.0}},
		},
		"no client": {
			form: url.Values{"grant_type": {"client_credentials"}, "scope": {scope}},
			want: answer{400, "invalid_request", []any{900144.0}},
		},
		"no scope": {
			form: url.Values{"grant_type": {"client_credentials"}, "client_id": {appID}, "client_secret": {appSecret}},
			want: answer{400, "invalid_request", []any{900144.0}},
		},
		"another grant": {
			form: url.Values{"grant_type": {"password"}, "client_id": {appID}, "client_secret": {appSecret}, "scope": {scope}},
			want: answer{400, "unsupported_grant_type", []any{70003.0}},
		},
		"a scope that is not a resource": {
			form: url.Values{"grant_type": {"client_credentials"}, "client_id": {appID}, "client_secret": {appSecret}, "scope": {"openid user.read"}},
			want: answer{400, "invalid_scope", []any{1002012.0}},
		},
		"neither secret nor assertion": {
			form: url.Values{"grant_type": {"client_credentials"}, "client_id": {appID}, "scope": {scope}},
			want: answer{401, "invalid_client", []any{7000216.0}},
		},
		"an assertion that is no JWT": {
			form: url.Values{
				"grant_type": {"client_credentials"}, "client_id": {appID}, "scope": {scope}, "client_assertion": {"x.y.z"},
				"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
			},
			want: answer{401, "invalid_client", []any{50027.0}},
		},
		"an assertion of no type": {
			form: url.Values{"grant_type": {"client_credentials"}, "client_id": {appID}, "scope": {scope}, "client_assertion": {"x.y.z"}},
			want: answer{400, "invalid_request", []any{900144.0}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/"+tenant+"/oauth2/v2.0/token", strings.NewReader(tt.form.Encode()))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if tt.user != "" {
				req.SetBasicAuth(url.QueryEscape(tt.user), url.QueryEscape(tt.basic))
			}
			status, _, body := w.call(t, req)
			got := answer{Status: status}
			got.Error, _ = body["error"].(string)
			got.Codes, _ = body["error_codes"].([]any)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s\nbody: %v", diff, body)
			}
			if status == http.StatusOK && body["expires_in"] != 3599.0 {
				t.Errorf("expires_in = %v, want the number 3599", body["expires_in"])
			}
		})
	}
}

func TestInstanceDiscovery(t *testing.T) {
	t.Parallel()
	w := start(t, azemu.Config{})
	tests := map[string]struct {
		authority string
		want      any
	}{
		"the host itself is known":  {authority: w.url, want: w.url + "/" + tenant + "/v2.0/.well-known/openid-configuration"},
		"another host is not known": {authority: "https://login.example.com", want: nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			q := url.Values{"api-version": {"1.1"}, "authorization_endpoint": {tt.authority + "/" + tenant + "/oauth2/v2.0/authorize"}}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/common/discovery/instance?"+q.Encode(), http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			status, _, body := w.call(t, req)
			if got := body["tenant_discovery_endpoint"]; got != tt.want {
				t.Errorf("tenant_discovery_endpoint = %v, want %v", got, tt.want)
			}
			if ok := status == http.StatusOK; ok != (tt.want != nil) {
				t.Errorf("status = %d", status)
			}
		})
	}
}
