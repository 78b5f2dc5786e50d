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

// ClientSecret is the secret of an application. It never shows itself in a log.
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
// identity or an application with a secret.
type ARMConfig struct {
	Cloud cloud.Configuration
	// ManagedIdentity chooses the managed identity with the client id ClientID,
	// or the VM's own when ClientID is empty. Otherwise TenantID, ClientID and
	// Secret name an application.
	ManagedIdentity    bool
	TenantID, ClientID string
	Secret             ClientSecret
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
	if c.TenantID == "" || c.ClientID == "" || c.Secret == "" {
		return nil, errors.New("credentials for Azure Resource Manager are incomplete: give tenant, client id and client secret, or choose the managed identity")
	}
	cred, err := azidentity.NewClientSecretCredential(c.TenantID, c.ClientID, string(c.Secret), &azidentity.ClientSecretCredentialOptions{
		ClientOptions: options, DisableInstanceDiscovery: c.DisableInstanceDiscovery,
	})
	if err != nil {
		return nil, fmt.Errorf("application %s in tenant %s for Azure Resource Manager: %w", c.ClientID, c.TenantID, err)
	}
	return cred, nil
}
