package entra_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/entra"
)

// listening keeps the last form that was posted.
type listening struct {
	http.RoundTripper
	form url.Values
}

func (l *listening) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		if l.form, err = url.ParseQuery(string(body)); err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	return l.RoundTripper.RoundTrip(r)
}

func TestARMCredentialSignsIn(t *testing.T) {
	key := newKey(t, 2048)
	certificate := newCertificate(t, key)
	d := newDirectory(t, azemu.App{Secrets: []string{appSecret}, Certificates: []string{block("CERTIFICATE", certificate.Raw)}})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(d.CA())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	assertion := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(assertion, []byte("a token of the cluster"), 0o600); err != nil {
		t.Fatal(err)
	}
	for sentence, test := range map[string]struct {
		how       entra.ARMConfig
		unmade    string // why there is no credential
		refused   string // why there is no token
		assertion string // what it was proved with
	}{
		"with a secret":                       {how: entra.ARMConfig{Secret: appSecret}},
		"with a wrong secret":                 {how: entra.ARMConfig{Secret: "wr0ng"}, refused: "AADSTS7000215"},
		"with a certificate in PEM":           {how: entra.ARMConfig{Certificate: entra.ClientSecret(block("CERTIFICATE", certificate.Raw) + block("PRIVATE KEY", pkcs8(t, key)))}},
		"with a PKCS#12 under a password":     {how: entra.ARMConfig{Certificate: entra.ClientSecret(pfx(t, pkcs12.Modern2023, key, certificate, nil, "s3cret")), CertificatePassword: "s3cret"}},
		"with a PKCS#12 and a wrong password": {how: entra.ARMConfig{Certificate: entra.ClientSecret(pfx(t, pkcs12.Modern2023, key, certificate, nil, "s3cret")), CertificatePassword: "wr0ng"}, unmade: "the password does not open"},
		"with a federated token":              {how: entra.ARMConfig{FederatedTokenFile: assertion, Secret: appSecret}, refused: "AADSTS", assertion: "a token of the cluster"},
		"with nothing":                        {unmade: "incomplete"},
	} {
		t.Run(sentence, func(t *testing.T) {
			l := &listening{RoundTripper: transport}
			c := test.how
			c.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: d.url + "/"}
			c.TenantID, c.ClientID, c.DisableInstanceDiscovery = tenant, appID, true
			c.Transport = &http.Client{Transport: l}
			credential, err := entra.ARMCredential(c)
			if err != nil || test.unmade != "" {
				if err == nil || test.unmade == "" || !strings.Contains(err.Error(), test.unmade) || strings.Contains(err.Error(), "s3cret") {
					t.Errorf("ARMCredential() = %v, want %q", err, test.unmade)
				}
				return
			}
			got, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://management.azure.com/.default"}})
			if test.refused == "" && (err != nil || got.Token == "") || test.refused != "" && (err == nil || !strings.Contains(err.Error(), test.refused)) {
				t.Errorf("GetToken() = %v, want %q", err, test.refused)
			}
			if want := test.assertion; want != "" && l.form.Get("client_assertion") != want {
				t.Errorf("proved itself with %q, want %q", l.form.Get("client_assertion"), want)
			}
		})
	}
}
