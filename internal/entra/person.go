package entra

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// PersonConfig says where a person, or a pipeline in the place of one, signs in.
type PersonConfig struct {
	Cloud cloud.Configuration
	// TenantID is the tenant to sign in to. The default is the one that az, or the
	// environment, is signed in to.
	TenantID string
	// ManagedIdentity signs in as the managed identity of this machine, and nobody
	// else. The default is not to: on a VM of Azure there is one always, and it is
	// not the person who ran az login.
	ManagedIdentity bool
	// Transport is the HTTP client for Entra ID; nil means the SDK's own.
	Transport *http.Client
	// DisableInstanceDiscovery is for clouds that the public Entra ID does not know.
	DisableInstanceDiscovery bool
}

func (c PersonConfig) options() azcore.ClientOptions {
	o := azcore.ClientOptions{Cloud: c.Cloud}
	if c.Transport != nil {
		o.Transport = c.Transport
	}
	return o
}

// PersonCredential is the credential of whoever runs a command: what the
// environment says (AZURE_CLIENT_ID and the like, or workload identity), else az,
// azd or PowerShell where one of them is signed in.
func PersonCredential(c PersonConfig) (azcore.TokenCredential, error) {
	if c.ManagedIdentity {
		return signIn(azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ClientOptions: c.options()}))
	}
	var chain []azcore.TokenCredential
	add := func(credential azcore.TokenCredential, err error) {
		if err == nil { // else the environment says nothing of it
			chain = append(chain, credential)
		}
	}
	add(azidentity.NewEnvironmentCredential(&azidentity.EnvironmentCredentialOptions{
		ClientOptions: c.options(), DisableInstanceDiscovery: c.DisableInstanceDiscovery,
	}))
	add(azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
		ClientOptions: c.options(), DisableInstanceDiscovery: c.DisableInstanceDiscovery, TenantID: c.TenantID,
	}))
	add(azidentity.NewAzureCLICredential(&azidentity.AzureCLICredentialOptions{TenantID: c.TenantID}))
	add(azidentity.NewAzureDeveloperCLICredential(&azidentity.AzureDeveloperCLICredentialOptions{TenantID: c.TenantID}))
	add(azidentity.NewAzurePowerShellCredential(&azidentity.AzurePowerShellCredentialOptions{TenantID: c.TenantID}))
	return signIn(azidentity.NewChainedTokenCredential(chain, nil))
}

func signIn[C azcore.TokenCredential](credential C, err error) (azcore.TokenCredential, error) {
	if err != nil {
		return nil, fmt.Errorf("sign in to Azure: %w", err)
	}
	return credential, nil
}

// Account is who signed in, as the token says that Azure gave: it is for people to
// read, and proves nothing.
type Account struct {
	// Name is that of a person, or the client id of an application.
	Name     string `json:"name,omitempty"`
	ObjectID string `json:"objectId,omitempty"`
	TenantID string `json:"tenantId,omitempty"`
}

// AccountOf signs in, and says as whom.
func AccountOf(ctx context.Context, credential azcore.TokenCredential, where cloud.Configuration) (Account, error) {
	audience := where.Services[cloud.ResourceManager].Audience
	token, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{strings.TrimSuffix(audience, "/") + "/.default"}})
	if err != nil {
		return Account{}, fmt.Errorf("sign in to Azure: %w", err)
	}
	return accountIn(token.Token), nil
}

// accountIn reads the claims of a token. It is empty where there are none.
func accountIn(token string) Account {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return Account{}
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return Account{}
	}
	var claims struct {
		UPN    string `json:"upn"`
		Unique string `json:"unique_name"` // of guests, who have no upn
		Type   string `json:"idtyp"`
		AppID  string `json:"appid"` // of a person's token, the application that they use
		Object string `json:"oid"`
		Tenant string `json:"tid"`
	}
	if json.Unmarshal(raw, &claims) != nil {
		return Account{}
	}
	a := Account{Name: cmp.Or(claims.UPN, claims.Unique, claims.AppID), ObjectID: claims.Object, TenantID: claims.Tenant}
	if claims.Type == "app" {
		a.Name = claims.AppID
	}
	return a
}
