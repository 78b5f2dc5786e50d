package roles

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"

	"github.com/podid-io/podid/internal/cli/command"
	"github.com/podid-io/podid/internal/entra"
	"github.com/podid-io/podid/internal/mic/cloudconfig"
	"github.com/podid-io/podid/internal/roles"
)

// Values of --identity-scope.
const (
	byIdentity = "identity"
	byGroup    = "resource-group"
)

func (o *options) check(args []string) error {
	if err := command.NoArgs(args); err != nil {
		return err
	}
	if err := o.output.Check(); err != nil {
		return err
	}
	if o.identityScope != byIdentity && o.identityScope != byGroup {
		return fmt.Errorf("--identity-scope=%s: write %s or %s", o.identityScope, byIdentity, byGroup)
	}
	if _, err := arm.ParseResourceID(o.delegated); o.delegated != "" && err != nil {
		return fmt.Errorf("--delegated-managed-identity-resource-id=%s: want the ARM id of a resource", o.delegated)
	}
	if o.principalTenant != "" && !isGUID(o.principalTenant) {
		return fmt.Errorf("--principal-tenant-id=%s: want a GUID", o.principalTenant)
	}
	return o.checkWho()
}

// checkWho asks for one way to know who mic is.
func (o *options) checkWho() error {
	switch {
	case o.principalID == "" && o.identity == "" && o.cloudConfig == "":
		return errors.New("who is mic? Give one of --principal-id, --identity-resource-id and --cloud-config")
	case o.principalID != "" && o.identity != "":
		return errors.New("give --principal-id or --identity-resource-id: both say who mic is")
	case o.principalID != "" && !isGUID(o.principalID):
		return fmt.Errorf("--principal-id=%s: want a GUID, the object id of the service principal", o.principalID)
	}
	if o.identity != "" {
		if err := roles.CheckIdentity(o.identity); err != nil {
			return fmt.Errorf("--identity-resource-id=%s: %w", o.identity, err)
		}
	}
	return nil
}

// blind says that it cannot be looked up what mic has: Azure looks for its object id
// in the tenant of whoever asks, which is another.
func (o *options) blind() bool { return o.delegated != "" && o.principalTenant == "" }

// sure says that the object id is one that somebody wrote down.
func (o *options) sure() bool { return o.principalID != "" }

// checkPrincipals refuses those that are to have no roles, and a delegated resource
// that is not theirs.
func (o *options) checkPrincipals(found []principal, identities []roles.Identity) error {
	for _, p := range found {
		if err := safe(p, identities); err != nil {
			return err
		}
		if o.delegated != "" && p.Identity != "" && !strings.EqualFold(p.Identity, o.delegated) {
			return fmt.Errorf("--delegated-managed-identity-resource-id=%s: mic's identity is that of %s", o.delegated, p.Identity)
		}
	}
	if o.delegated == "" {
		return nil
	}
	if len(found) > 1 {
		return errors.New("--delegated-managed-identity-resource-id is for one identity, and mic may have several: give --principal-id or --identity-resource-id")
	}
	return safe(principal{Identity: o.delegated}, identities)
}

// account signs in, to the tenant that was asked for.
func (o *options) account(ctx context.Context, az *azure) (entra.Account, error) {
	a, err := entra.AccountOf(ctx, az.credential, az.options.Cloud)
	if err == nil && isGUID(o.tenant) && a.TenantID != "" && !strings.EqualFold(a.TenantID, o.tenant) {
		return a, fmt.Errorf("--tenant-id=%s: signed in to tenant %s", o.tenant, a.TenantID)
	}
	return a, err
}

// whose says what is known of who mic is.
type whose struct {
	principalID, identity string
	// machine says that it is a managed identity of the machines: the one with the
	// client id, or without one that which they use when they are not told.
	machine bool
	// clientID is that of azure.json, empty where it has none.
	clientID string
}

// signIn makes the client for Azure.
func (o *options) signIn() (*azure, whose, error) {
	who := whose{principalID: o.principalID, identity: o.identity}
	name := o.cloud
	var where cloud.Configuration
	custom := strings.EqualFold(name, cloudconfig.CustomCloud)
	if o.cloudConfig != "" {
		c, err := cloudconfig.Read(o.cloudConfig, o.Getenv)
		if err != nil {
			return nil, whose{}, fmt.Errorf("%w; or give --principal-id and --cloud", err)
		}
		if who, err = whoIs(who, c.ARM); err != nil {
			return nil, whose{}, err
		}
		where, custom = c.ARM.Cloud, custom || name == "" && c.ARM.DisableInstanceDiscovery
	}
	if name != "" || o.cloudConfig == "" {
		if name == "" {
			name = "AzureCloud"
		}
		var err error
		if where, err = cloudconfig.Cloud(name, o.Getenv); err != nil {
			return nil, whose{}, fmt.Errorf("--cloud: %w", err)
		}
	}
	credential, err := entra.PersonCredential(entra.PersonConfig{
		Cloud: where, TenantID: o.tenant, ManagedIdentity: o.managedIdentity, Transport: o.HTTP, DisableInstanceDiscovery: custom,
	})
	if err != nil {
		return nil, whose{}, err
	}
	az, err := newAzure(credential, where, o.HTTP)
	if err != nil {
		return nil, whose{}, err
	}
	az.name, az.principalTenant = nameOf(where), o.principalTenant
	return az, who, nil
}

// nameOf is the name of a cloud. An Azure Stack whose users sign in to Entra ID has
// the sign-in of another cloud, and a Resource Manager of its own.
func nameOf(where cloud.Configuration) string {
	same := func(c cloud.Configuration) bool {
		return c.ActiveDirectoryAuthorityHost == where.ActiveDirectoryAuthorityHost &&
			c.Services[cloud.ResourceManager].Endpoint == where.Services[cloud.ResourceManager].Endpoint
	}
	for _, name := range []string{"AzureCloud", "AzureChinaCloud", "AzureUSGovernment"} {
		if c, err := entra.Cloud(name); err == nil && same(c) {
			return name
		}
	}
	return cloudconfig.CustomCloud
}

// whoIs reads who mic is from its configuration. Where that was told, its client id
// counts nevertheless: what pods have must not be that either.
func whoIs(who whose, c entra.ARMConfig) (whose, error) {
	switch {
	case who.principalID != "" || who.identity != "":
		if isGUID(c.ClientID) {
			who.clientID = c.ClientID
		}
		return who, nil
	case c.ManagedIdentity:
		return whose{machine: true, clientID: c.ClientID}, nil
	case !isGUID(c.ClientID):
		return whose{}, errors.New("azure.json names no application: its aadClientId is no GUID; give --principal-id")
	default:
		return whose{}, fmt.Errorf(
			"mic is the application %[1]s, and its object id is known to Entra ID alone: give --principal-id \"$(az ad sp show --id %[1]s --query id --output tsv)\"",
			c.ClientID)
	}
}
