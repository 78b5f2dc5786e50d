package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/mic/cloudconfig"
)

// cluster issues tokens of service accounts.
type cluster struct {
	*httptest.Server

	key *rsa.PrivateKey
}

func newCluster(t *testing.T) cluster {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c := cluster{httptest.NewUnstartedServer(nil), key}
	c.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var answer any = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1", Algorithm: "RS256"}}}
		if r.URL.Path == "/.well-known/openid-configuration" {
			answer = map[string]string{"issuer": c.URL, "jwks_uri": c.URL + "/keys"}
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	})
	c.StartTLS()
	t.Cleanup(c.Close)
	return c
}

// token is one of a service account.
func (c cluster) token(t *testing.T, account string) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: c.key, KeyID: "1"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: c.URL, Subject: account, Audience: jwt.Audience{"api://AzureADTokenExchange"}, Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour)),
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TestAFederatedTokenReachesAzure has mic sign in as Azure's workload identity has
// it: with a token of its service account, from a file.
func TestAFederatedTokenReachesAzure(t *testing.T) {
	const account = "system:serviceaccount:podid-system:podid-mic"
	issuer, dir := newCluster(t), t.TempDir()
	azure, _ := newCloud(t, dir, azemu.Config{Issuers: issuer.Client()}, azemu.App{
		ClientID: "federated", FederatedCredentials: []azemu.FederatedCredential{{Issuer: issuer.URL, Subject: account}},
	})
	path := write(t, dir, "azure.json", `{"cloud": "AzureStackCloud", "useFederatedWorkloadIdentityExtension": true}`)
	c, err := cloudconfig.Read(path, func(name string) string {
		return map[string]string{
			"AZURE_ENVIRONMENT_FILEPATH": filepath.Join(dir, "cloud.json"), "AZURE_CLIENT_ID": "federated",
			"AZURE_TENANT_ID": azemu.DefaultTenant, "AZURE_FEDERATED_TOKEN_FILE": filepath.Join(dir, "token"),
		}[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(azure.CA())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	c.ARM.Transport = &http.Client{Transport: transport}
	scope, err := assign.ParseID(scaleSet)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ account, says string }{{account + "-of-another", "AADSTS700213"}, {account, ""}} {
		token := issuer.token(t, step.account)
		write(t, dir, "token", token)
		m := newMachines("", nil)
		if err := m.use(c); err != nil {
			t.Fatal(err)
		}
		_, err := m.Get(t.Context(), scope)
		if (err == nil) != (step.says == "") || err != nil && (!strings.Contains(err.Error(), step.says) || strings.Contains(err.Error(), token)) {
			t.Errorf("as %s: %v, want %q", step.account, err, step.says)
		}
	}
	if n := azure.Counters()[azemu.EndpointVMSSGet].Status[http.StatusOK]; n != 1 {
		t.Errorf("Resource Manager answered %d times, want once", n)
	}
}
