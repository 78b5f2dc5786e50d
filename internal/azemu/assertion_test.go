package azemu_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/internal/azemu"
)

const otherTenant = "66666666-7777-8888-9999-aaaaaaaaaaaa"

// signing is a certificate and its key.
type signing struct {
	certificate *x509.Certificate
	key         *rsa.PrivateKey
}

func newSigning(t *testing.T, notBefore, notAfter time.Time) signing {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app"}, NotBefore: notBefore, NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return signing{c, key}
}

func (s signing) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.certificate.Raw}))
}

// sign makes an assertion; thumbprint is the header that names the certificate.
func (s signing) sign(t *testing.T, alg jose.SignatureAlgorithm, thumbprint string, claims any) string {
	t.Helper()
	options := (&jose.SignerOptions{}).WithType("JWT")
	long, short := sha256.Sum256(s.certificate.Raw), sha1.Sum(s.certificate.Raw)
	switch thumbprint {
	case "x5t#S256":
		options.WithHeader("x5t#S256", base64.RawURLEncoding.EncodeToString(long[:]))
	case "x5t":
		options.WithHeader("x5t", base64.RawURLEncoding.EncodeToString(short[:]))
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: s.key}, options)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// withCertificate is the seed whose app has a certificate and is in two tenants.
func withCertificate(certificates ...string) azemu.Config {
	s := seed()
	s.Apps[0].Certificates = certificates
	s.Apps[0].Tenants = []string{tenant, otherTenant}
	s.Tenants = []string{"empty-tenant"}
	return azemu.Config{Seed: s}
}

func TestClientCertificateCredential(t *testing.T) {
	t.Parallel()
	now := time.Now()
	right, wrong := newSigning(t, now.Add(-time.Hour), now.Add(time.Hour)), newSigning(t, now.Add(-time.Hour), now.Add(time.Hour))
	expired := newSigning(t, now.Add(-2*time.Hour), now.Add(-time.Hour))
	w := start(t, withCertificate(right.pem(), base64.StdEncoding.EncodeToString(expired.certificate.Raw)))
	tests := map[string]struct {
		with      signing
		tenant    string
		chain     bool
		wantErr   string
		wantOther bool // another object id
	}{
		"a registered certificate":         {with: right, tenant: tenant},
		"with its chain":                   {with: right, tenant: tenant, chain: true},
		"in another tenant":                {with: right, tenant: otherTenant, wantOther: true},
		"a certificate that nobody knows":  {with: wrong, tenant: tenant, wantErr: "AADSTS700027"},
		"one that has expired":             {with: expired, tenant: tenant, wantErr: "AADSTS700027"},
		"in a tenant where the app is not": {with: right, tenant: "empty-tenant", wantErr: "AADSTS700016"},
		"in a tenant that does not exist":  {with: right, tenant: "nowhere", wantErr: "AADSTS90002"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cred, err := azidentity.NewClientCertificateCredential(tt.tenant, appID, []*x509.Certificate{tt.with.certificate}, tt.with.key,
				&azidentity.ClientCertificateCredentialOptions{ClientOptions: w.options(), DisableInstanceDiscovery: true, SendCertificateChain: tt.chain})
			if err != nil {
				t.Fatal(err)
			}
			token, err := cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}})
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("GetToken() error = %v, want %s", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			claims := verified(t, w, token.Token)
			if claims["tid"] != tt.tenant || claims["iss"] != w.url+"/"+tt.tenant+"/v2.0" || (claims["oid"] != appObject) != tt.wantOther {
				t.Errorf("claims = %v", claims)
			}
		})
	}
}

func TestAssertions(t *testing.T) {
	t.Parallel()
	now := time.Now()
	right, other := newSigning(t, now.Add(-time.Hour), now.Add(time.Hour)), newSigning(t, now.Add(-time.Hour), now.Add(time.Hour))
	w := start(t, withCertificate(right.pem()))
	good := func(change func(map[string]any)) map[string]any {
		c := map[string]any{
			"aud": w.url + "/" + tenant + "/oauth2/v2.0/token", "iss": appID, "sub": appID, "jti": "1",
			"nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(10 * time.Minute).Unix(),
		}
		change(c)
		return c
	}
	set := func(name string, value any) func(map[string]any) {
		return func(c map[string]any) { c[name] = value }
	}
	as := func(map[string]any) {}
	forged := signing{right.certificate, other.key}
	tests := map[string]struct {
		assertion string
		want      int // AADSTS; 0: a token
	}{
		"signed with PS256":                     {right.sign(t, jose.PS256, "x5t#S256", good(as)), 0},
		"signed with RS256, the old thumbprint": {right.sign(t, jose.RS256, "x5t", good(as)), 0},
		"for the v1.0 endpoint":                 {right.sign(t, jose.RS256, "x5t", good(set("aud", w.url+"/"+tenant+"/oauth2/token"))), 0},
		"of the certificate, by another key":    {forged.sign(t, jose.PS256, "x5t#S256", good(as)), 700027},
		"by a key that is not registered":       {other.sign(t, jose.PS256, "x5t#S256", good(as)), 700027},
		"without the name of a certificate":     {right.sign(t, jose.PS256, "", good(as)), 700027},
		"for another tenant":                    {right.sign(t, jose.PS256, "x5t#S256", good(set("aud", w.url+"/"+otherTenant+"/oauth2/v2.0/token"))), 700023},
		"of another issuer":                     {right.sign(t, jose.PS256, "x5t#S256", good(set("iss", "somebody"))), 700021},
		"of another subject":                    {right.sign(t, jose.PS256, "x5t#S256", good(set("sub", "somebody"))), 700021},
		"that has expired":                      {right.sign(t, jose.PS256, "x5t#S256", good(set("exp", now.Add(-time.Minute).Unix()))), 700024},
		"that is not valid yet":                 {right.sign(t, jose.PS256, "x5t#S256", good(set("nbf", now.Add(time.Minute).Unix()))), 700024},
		"without an end":                        {right.sign(t, jose.PS256, "x5t#S256", good(func(c map[string]any) { delete(c, "exp") })), 700024},
		"without an id":                         {right.sign(t, jose.PS256, "x5t#S256", good(func(c map[string]any) { delete(c, "jti") })), 50027},
		"signed with another algorithm":         {right.sign(t, jose.RS384, "x5t#S256", good(as)), 50027},
		"without a signature":                   {"eyJhbGciOiJub25lIn0.e30.", 50027},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, body := postForm(t, w, "/"+tenant+"/oauth2/v2.0/token", url.Values{
				"grant_type": {"client_credentials"}, "client_id": {appID}, "scope": {"https://vault.azure.net/.default"},
				"client_assertion":      {tt.assertion},
				"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
			})
			got := 0
			if codes, ok := body["error_codes"].([]any); ok {
				got = int(codes[0].(float64))
			}
			if got != tt.want || (got == 0) != (body["access_token"] != nil) {
				t.Errorf("answer %v, want AADSTS%d", body, tt.want)
			}
		})
	}
}

func TestOldTokenEndpointAnswersInStrings(t *testing.T) {
	t.Parallel()
	w := start(t, azemu.Config{})
	status, body := postForm(t, w, "/"+tenant+"/oauth2/token?api-version=1.0", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {appID}, "client_secret": {appSecret}, "resource": {"https://vault.azure.net/"},
	})
	if status != http.StatusOK {
		t.Fatalf("status %d: %v", status, body)
	}
	raw, _ := body["access_token"].(string)
	if claims := verified(t, w, raw); claims["aud"] != "https://vault.azure.net/" || claims["ver"] != "1.0" || claims["iss"] != "https://sts.windows.net/"+tenant+"/" {
		t.Errorf("claims = %v", claims)
	}
	for _, name := range []string{"expires_on", "not_before"} {
		text, _ := body[name].(string)
		if _, err := strconv.ParseInt(text, 10, 64); err != nil {
			t.Errorf("%s = %v, want a string of digits", name, body[name])
		}
		delete(body, name)
	}
	delete(body, "access_token")
	want := map[string]any{"token_type": "Bearer", "expires_in": "3599", "ext_expires_in": "3599", "resource": "https://vault.azure.net/"}
	if diff := cmp.Diff(want, body); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if status, body := postForm(t, w, "/"+tenant+"/oauth2/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {appID}, "client_secret": {appSecret}, "scope": {"x/.default"},
	}); status != http.StatusBadRequest {
		t.Errorf("without a resource: %d %v", status, body)
	}
}

func TestSecretsAndCertificatesChangeAtRunTime(t *testing.T) {
	t.Parallel()
	w := start(t, azemu.Config{})
	ask := func(secret string) error {
		_, err := w.credential(t, tenant, appID, secret).
			GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}})
		return err
	}
	if err := ask("new"); err == nil {
		t.Fatal("a secret to come is right already")
	}
	client := admin(t, w.Emulator)
	if err := client.MergeState(t.Context(), azemu.State{Apps: []azemu.App{{ClientID: appID, ObjectID: appObject, Secrets: []string{"new"}}}}); err != nil {
		t.Fatal(err)
	}
	if err := ask("new"); err != nil {
		t.Errorf("the new secret: %v", err)
	}
	if err := ask(appSecret); err == nil || !strings.Contains(err.Error(), "AADSTS7000215") {
		t.Errorf("the old secret: %v, want AADSTS7000215", err)
	}
	if err := client.MergeState(t.Context(), azemu.State{Apps: []azemu.App{{ClientID: appID, Certificates: []string{"rubbish"}}}}); err == nil {
		t.Error("rubbish was taken for a certificate")
	}
}

// postForm posts to the emulator and reads the JSON of the answer.
func postForm(t *testing.T, w world, path string, form url.Values) (int, map[string]any) {
	t.Helper()
	resp, err := w.client.PostForm(w.url+path, form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}
