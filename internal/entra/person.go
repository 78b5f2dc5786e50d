package entra

import (
	"fmt"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// PersonConfig says where a person, or a pipeline in the place of one, signs in.
type PersonConfig struct {
	Cloud cloud.Configuration
	// TenantID is the tenant to sign in to. The default is the one that az, or the
	// environment, is signed in to.
	TenantID string
	// Transport is the HTTP client for Entra ID; nil means the SDK's own.
	Transport *http.Client
	// DisableInstanceDiscovery is for clouds that the public Entra ID does not know.
	DisableInstanceDiscovery bool
}

// PersonCredential is the credential of whoever runs a command: what the
// environment says (AZURE_CLIENT_ID and the like), else az, azd or PowerShell
// where one of them is signed in.
func PersonCredential(c PersonConfig) (azcore.TokenCredential, error) {
	options := &azidentity.DefaultAzureCredentialOptions{
		ClientOptions: azcore.ClientOptions{Cloud: c.Cloud}, TenantID: c.TenantID,
		DisableInstanceDiscovery: c.DisableInstanceDiscovery,
	}
	if c.Transport != nil {
		options.Transport = c.Transport
	}
	credential, err := azidentity.NewDefaultAzureCredential(options)
	if err != nil {
		return nil, fmt.Errorf("sign in to Azure: %w", err)
	}
	return credential, nil
}
