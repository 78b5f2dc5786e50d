package entra

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/token"
)

// ApplicationsConfig says how Entra ID is reached.
type ApplicationsConfig struct {
	// CA are certificates in PEM to trust besides the system's. The default is none.
	CA []byte
	// Proxy is the proxy for a request. The default is that of the environment
	// (HTTPS_PROXY, NO_PROXY).
	Proxy func(*http.Request) (*url.URL, error)
	// Allowed reports whether credentials may be sent to an authority, such as
	// https://login.microsoftonline.com. The default allows those of Azure's clouds.
	Allowed func(authority string) bool
	// DisableInstanceDiscovery is for clouds that the public Entra ID does not
	// know. Hosts that are not of Azure's own clouds are never looked up there.
	DisableInstanceDiscovery bool
}

// Applications is a token.Source for applications that sign in with a secret or
// a certificate. It makes a new credential for each call, since one that lives
// on answers from a cache of its own, and tries once: freshness and retries are
// its caller's.
type Applications struct {
	client              *http.Client
	allowed             func(string) bool
	noInstanceDiscovery bool
}

var _ token.Source = (*Applications)(nil)

// NewApplications makes the source. It fails when CA holds no certificate.
func NewApplications(c ApplicationsConfig) (*Applications, error) {
	roots, err := trust(c.CA)
	if err != nil {
		return nil, err
	}
	if c.Proxy == nil {
		c.Proxy = http.ProxyFromEnvironment
	}
	if c.Allowed == nil {
		c.Allowed = func(authority string) bool { return identity.KnownAuthority(strings.TrimPrefix(authority, "https://")) }
	}
	return &Applications{
		client: &http.Client{
			Transport: &http.Transport{
				Proxy:                 c.Proxy,
				DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
				TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
				TLSHandshakeTimeout:   10 * time.Second,
				ResponseHeaderTimeout: 20 * time.Second,
				ForceAttemptHTTP2:     true,
				MaxIdleConnsPerHost:   4,
				IdleConnTimeout:       30 * time.Second,
			},
			// A redirect could take the credential to another host.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		allowed: c.Allowed, noInstanceDiscovery: c.DisableInstanceDiscovery,
	}, nil
}

// trust is the system's pool and ca; nil means the system's alone.
func trust(ca []byte) (*x509.CertPool, error) {
	if len(ca) == 0 {
		return nil, nil //nolint:nilnil // what crypto/tls wants
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool() // a system without any
	}
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("the authorities to trust for Entra ID hold no certificate in PEM")
	}
	return roots, nil
}

// Close closes the connections that nobody uses.
func (a *Applications) Close() { a.client.CloseIdleConnections() }

// Token signs the application in. The scope is the resource and "/.default": a
// slash at the end of the resource counts. Its errors are *token.Error, or
// ctx's.
func (a *Applications) Token(ctx context.Context, r *token.Request) (token.Token, error) {
	if err := a.check(r); err != nil {
		return token.Token{}, &token.Error{Kind: token.Rejected, Err: err}
	}
	credential, err := a.credential(r)
	if err != nil {
		return token.Token{}, &token.Error{Kind: token.Rejected, Err: err}
	}
	t, err := credential.GetToken(ctx, policy.TokenRequestOptions{
		Scopes:    []string{r.Resource + "/.default"},
		EnableCAE: slices.Contains(strings.Split(r.Capabilities, ","), "cp1"),
	})
	if err != nil {
		return token.Token{}, refusal(ctx, r, err)
	}
	return token.Token{Value: token.Secret(t.Token), ClientID: r.ClientID, ExpiresOn: t.ExpiresOn}, nil
}

// check refuses what should never have come here: a second look before a
// credential leaves the node.
func (a *Applications) check(r *token.Request) error {
	switch {
	case r.Type != v1.ServicePrincipal && r.Type != v1.ServicePrincipalCertificate:
		return fmt.Errorf("identity type %d is no application with a secret or a certificate", r.Type)
	case r.Credential == nil:
		return errors.New("the application has no credential")
	case r.TenantID == "" || r.ClientID == "":
		return errors.New("the application has no tenant id or no client id")
	}
	u, err := url.Parse(r.Authority)
	if err != nil || u.Scheme != "https" || u.Host == "" || r.Authority != "https://"+u.Host {
		return fmt.Errorf("authority %q: want https://HOST", r.Authority)
	}
	if !a.allowed(r.Authority) {
		return fmt.Errorf("authority %q is not one that credentials may be sent to", r.Authority)
	}
	return nil
}

func (a *Applications) credential(r *token.Request) (azcore.TokenCredential, error) {
	options := azcore.ClientOptions{
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: r.Authority + "/"},
		Transport: a.client,
		Retry:     policy.RetryOptions{MaxRetries: -1},
		Telemetry: policy.TelemetryOptions{Disabled: true},
	}
	noDiscovery := a.noInstanceDiscovery || !azures(r.Authority)
	if r.Type == v1.ServicePrincipal {
		if r.Credential.ClientSecret == "" {
			return nil, errors.New("the client secret is empty")
		}
		c, err := azidentity.NewClientSecretCredential(r.TenantID, r.ClientID, string(r.Credential.ClientSecret), &azidentity.ClientSecretCredentialOptions{
			ClientOptions: options, DisableInstanceDiscovery: noDiscovery,
		})
		if err != nil {
			return nil, fmt.Errorf("application %s: %w", r.ClientID, err)
		}
		return c, nil
	}
	certificates, key, err := parseCertificate([]byte(r.Credential.Certificate), string(r.Credential.Password))
	if err != nil {
		return nil, fmt.Errorf("certificate of application %s: %w", r.ClientID, err)
	}
	c, err := azidentity.NewClientCertificateCredential(r.TenantID, r.ClientID, certificates, key, &azidentity.ClientCertificateCredentialOptions{
		ClientOptions: options, DisableInstanceDiscovery: noDiscovery, SendCertificateChain: true,
	})
	if err != nil {
		return nil, fmt.Errorf("certificate of application %s: %w", r.ClientID, err)
	}
	return c, nil
}
