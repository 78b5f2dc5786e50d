package demo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/podid-io/podid/test/localcluster"
)

// claims are those of an Azure access token that say whose it is.
type claims struct {
	jwt.Claims

	AppID    string `json:"appid"`
	Resource string `json:"xms_mirid"`
}

// verify claims that a token is signed by the tenant and is one of this
// identity and no other.
func (w *World) verify(who string, a answer, keys jose.JSONWebKeySet, resource, name, clientID string) {
	if a.err != nil || a.token == "" {
		w.story.claim(false, "%s gets a token: %s (%v)", who, a.raw, a.err)
		return
	}
	c, err := open(a.token, keys)
	if err == nil {
		err = c.check(resource, name, clientID)
	}
	if err != nil {
		w.story.claim(false, "%s gets a token of %s: %v", who, name, err)
		return
	}
	w.story.claim(true, "%s gets a token of %s after %d ms: appid %s, aud %s, signature verified",
		who, name, a.took.Milliseconds(), c.AppID, resource)
}

// open checks the signature of a token and its times.
func open(token string, keys jose.JSONWebKeySet) (claims, error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return claims{}, err
	}
	var c claims
	if err := parsed.Claims(keys, &c); err != nil {
		return claims{}, fmt.Errorf("signature: %w", err)
	}
	return c, c.Validate(jwt.Expected{Time: time.Now()})
}

func (c claims) check(resource, name, clientID string) error {
	switch {
	case !c.Audience.Contains(resource) || len(c.Audience) != 1:
		return fmt.Errorf("aud is %v, want %s", c.Audience, resource)
	case c.AppID != clientID:
		return fmt.Errorf("appid is %s, want %s", c.AppID, clientID)
	case !strings.EqualFold(c.Resource, identityID(name)):
		return fmt.Errorf("xms_mirid is %s, want %s", c.Resource, identityID(name))
	default:
		return nil
	}
}

// keys fetches the tenant's keys, over TLS that is checked against azemu's CA.
func (w *World) keys(ctx context.Context) (jose.JSONWebKeySet, error) {
	var keys jose.JSONWebKeySet
	ca, err := os.ReadFile(w.path("azure-ca.pem"))
	if err != nil {
		return keys, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return keys, errors.New("azemu's CA file holds no certificate")
	}
	url := fmt.Sprintf("https://%s:%d/%s/discovery/v2.0/keys", localcluster.FabricAddress, azurePort, tenant)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return keys, err
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return keys, fmt.Errorf("fetch the tenant's keys: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return keys, err
	}
	return keys, json.Unmarshal(b, &keys)
}
