package entra

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// ClientSecret is what an application proves itself with. It never shows itself
// in a log.
type ClientSecret string

// LogValue hides the secret.
func (ClientSecret) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// String hides the secret from fmt.
func (ClientSecret) String() string { return "[redacted]" }

// MarshalText hides the secret from JSON.
func (ClientSecret) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// GoString hides the secret from fmt.
func (ClientSecret) GoString() string { return "[redacted]" }

// ARMConfig says as whom mic talks to Azure Resource Manager: a managed
// identity, or an application with a federated token, a secret or a certificate.
type ARMConfig struct {
	Cloud cloud.Configuration
	// ManagedIdentity chooses the managed identity with the client id ClientID,
	// or the VM's own when ClientID is empty. Otherwise TenantID and ClientID name
	// an application.
	ManagedIdentity    bool
	TenantID, ClientID string
	// FederatedTokenFile holds a token that the application trusts, such as the
	// service account's. It is read again as the token changes. It goes before
	// Secret, and Secret before Certificate.
	FederatedTokenFile string
	Secret             ClientSecret
	// Certificate is a PKCS#12, or PEM with certificate and private key, which
	// CertificatePassword opens where it is not empty.
	Certificate, CertificatePassword ClientSecret
	// Transport is the HTTP client for Entra ID; nil means the SDK's own.
	Transport *http.Client
	// DisableInstanceDiscovery is for clouds that the public Entra ID does not
	// know, such as Azure Stack.
	DisableInstanceDiscovery bool
}

// ARMCredential makes the credential. It fails when a part is missing; a wrong
// secret shows only when a token is asked for.
func ARMCredential(c ARMConfig) (azcore.TokenCredential, error) {
	options := azcore.ClientOptions{Cloud: c.Cloud}
	if c.Transport != nil {
		options.Transport = c.Transport
	}
	if c.ManagedIdentity {
		o := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: options}
		if c.ClientID != "" {
			o.ID = azidentity.ClientID(c.ClientID)
		}
		cred, err := azidentity.NewManagedIdentityCredential(o)
		if err != nil {
			return nil, fmt.Errorf("managed identity %q for Azure Resource Manager: %w", c.ClientID, err)
		}
		return cred, nil
	}
	cred, err := application(c, options)
	if err != nil {
		return nil, fmt.Errorf("application %s in tenant %s for Azure Resource Manager: %w", c.ClientID, c.TenantID, err)
	}
	return cred, nil
}

// application is the credential of an application, by what it proves itself with.
func application(c ARMConfig, options azcore.ClientOptions) (azcore.TokenCredential, error) {
	switch {
	case c.TenantID == "" || c.ClientID == "" || c.FederatedTokenFile+string(c.Secret)+string(c.Certificate) == "":
		return nil, errors.New("credentials are incomplete: give tenant, client id and a federated token, a secret or a certificate, or choose the managed identity")
	case c.FederatedTokenFile != "":
		return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: options, TenantID: c.TenantID, ClientID: c.ClientID, TokenFilePath: c.FederatedTokenFile,
			DisableInstanceDiscovery: c.DisableInstanceDiscovery,
		})
	case c.Secret != "":
		return azidentity.NewClientSecretCredential(c.TenantID, c.ClientID, string(c.Secret), &azidentity.ClientSecretCredentialOptions{
			ClientOptions: options, DisableInstanceDiscovery: c.DisableInstanceDiscovery,
		})
	default:
		certificates, key, err := parseCertificate([]byte(c.Certificate), string(c.CertificatePassword))
		if err != nil {
			return nil, fmt.Errorf("its certificate: %w", err)
		}
		return azidentity.NewClientCertificateCredential(c.TenantID, c.ClientID, certificates, key, &azidentity.ClientCertificateCredentialOptions{
			ClientOptions: options, DisableInstanceDiscovery: c.DisableInstanceDiscovery, SendCertificateChain: true,
		})
	}
}
