// Package roles is the command podid roles: which roles in Azure mic needs for a
// cluster as it is, which of them it has, and, if told to, the missing ones made.
package roles

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/podid-io/podid/internal/cli/exit"
	"github.com/podid-io/podid/internal/entra"
	"github.com/podid-io/podid/internal/mic/cloudconfig"
	"github.com/podid-io/podid/internal/roles"
)

// The statuses that the command ends with, beside 0.
const (
	errMissing     = exit.Error(1)
	errNotFoundOut = exit.Error(2)
)

// Config is what the command has of its process.
type Config struct {
	// Getenv reads the environment.
	Getenv func(string) string
	// HTTP is the HTTP client for Azure; nil means the SDK's own.
	HTTP *http.Client
}

// options are the flags.
type options struct {
	Config

	kube *genericclioptions.ConfigFlags

	principalID, identity, cloudConfig string
	cloud, tenant                      string
	leastPrivilege, apply              bool
	identityScope, delegated, output   string
}

// New makes the command.
func New(c Config) *cobra.Command {
	o := &options{Config: c, kube: genericclioptions.NewConfigFlags(true)}
	o.kube.Namespace, o.kube.CacheDir = nil, nil // all namespaces count, and nothing is cached
	cmd := &cobra.Command{
		Use:   "roles",
		Short: "Print, check and make the role assignments in Azure that mic needs",
		Long: `Print which roles in Azure mic needs for this cluster, from its nodes and its
AzureIdentities, and which of them it has. With --apply, make the missing ones.

Say who mic is by one of --principal-id, --identity-resource-id and --cloud-config.
Sign in to Azure first, for example with az login.

The command ends with status 0 when nothing is missing (or is any more), with 1 when
something is, and with 2 when that could not be found out. docs/roles.md has the rest.`,
		Example: `  podid roles --identity-resource-id /subscriptions/S/resourceGroups/G/providers/Microsoft.ManagedIdentity/userAssignedIdentities/mic
  podid roles --principal-id 00000000-0000-0000-0000-000000000000 --apply`,
		RunE: func(c *cobra.Command, args []string) error {
			missing, err := o.run(c, args)
			switch {
			case err != nil:
				return tell(c, err)
			case missing:
				return errMissing
			default:
				return nil
			}
		},
	}
	cmd.SetFlagErrorFunc(tell)
	o.addFlags(cmd)
	return cmd
}

func (o *options) addFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.principalID, "principal-id", "", "object id of mic's own identity")
	f.StringVar(&o.identity, "identity-resource-id", "", "ARM id of mic's own user-assigned identity, to read the object id from")
	f.StringVar(&o.cloudConfig, "cloud-config", "", "azure.json as mic has it, to read cloud and identity from")
	f.StringVar(&o.cloud, "cloud", "", "AzureCloud, AzureChinaCloud, AzureUSGovernment, or AzureStackCloud with AZURE_ENVIRONMENT_FILEPATH (default that of --cloud-config, else AzureCloud)")
	f.StringVar(&o.tenant, "tenant-id", "", "tenant to sign in to (default the one that az is signed in to)")
	f.BoolVar(&o.leastPrivilege, "least-privilege", false, "custom roles with the actions that mic needs and no others, in place of Virtual Machine Contributor and Managed Identity Operator")
	f.StringVar(&o.identityScope, "identity-scope", "identity", "where mic may assign identities: identity, each one of its own, or resource-group, all in the groups that they are in")
	f.StringVar(&o.delegated, "delegated-managed-identity-resource-id", "", "ARM id of the resource that has mic's identity, for assignments made from another tenant (managed applications, Lighthouse)")
	f.BoolVar(&o.apply, "apply", false, "make what is missing")
	f.StringVarP(&o.output, "output", "o", "table", "table or json")
	o.kube.AddFlags(f)
}

// tell says what is wrong, and makes the status of it.
func tell(c *cobra.Command, err error) error {
	_, _ = fmt.Fprintln(c.ErrOrStderr(), "podid roles:", err) // nowhere else to say it
	return errNotFoundOut
}

// run reports whether something is missing still.
func (o *options) run(c *cobra.Command, args []string) (missing bool, err error) {
	if err := o.check(args); err != nil {
		return false, err
	}
	ctx := c.Context()
	az, who, err := o.signIn()
	if err != nil {
		return false, err
	}
	cluster, notes, err := o.cluster(ctx)
	if err != nil {
		return false, err
	}
	needs, refused := roles.Needs(cluster, o.identityScope == byGroup)
	for _, r := range refused {
		notes = append(notes, "left out: "+r.Error())
	}
	r := &report{Roles: []*row{}, Notes: notes}
	if r.Principals, err = az.principals(ctx, who, cluster); err != nil {
		return false, err
	}
	if err := az.compare(ctx, r, needs, o); err != nil {
		return false, err
	}
	if o.apply {
		az.apply(ctx, r)
	}
	if err := r.print(c.OutOrStdout(), o); err != nil {
		return false, err
	}
	return r.count(missingState, failedState) > 0, nil
}

// Values of --identity-scope.
const (
	byIdentity = "identity"
	byGroup    = "resource-group"
)

func (o *options) check(args []string) error {
	switch {
	case len(args) > 0:
		return fmt.Errorf("argument %q: the command takes none", args[0])
	case o.output != "table" && o.output != "json":
		return fmt.Errorf("--output=%s: write table or json", o.output)
	case o.identityScope != byIdentity && o.identityScope != byGroup:
		return fmt.Errorf("--identity-scope=%s: write %s or %s", o.identityScope, byIdentity, byGroup)
	}
	if _, err := arm.ParseResourceID(o.delegated); o.delegated != "" && err != nil {
		return fmt.Errorf("--delegated-managed-identity-resource-id=%s: want the ARM id of a resource", o.delegated)
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

// whose says what is known of who mic is.
type whose struct {
	principalID, identity string
	// machine says that it is a managed identity of the machines: the one with this
	// client id, or without one that which they use when they are not told.
	machine  bool
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
		Cloud: where, TenantID: o.tenant, Transport: o.HTTP, DisableInstanceDiscovery: custom,
	})
	if err != nil {
		return nil, whose{}, err
	}
	az, err := newAzure(credential, where, o.HTTP)
	return az, who, err
}

// whoIs reads who mic is from its configuration, unless that was told.
func whoIs(who whose, c entra.ARMConfig) (whose, error) {
	switch {
	case who.principalID != "" || who.identity != "":
		return who, nil
	case c.ManagedIdentity:
		return whose{machine: true, clientID: c.ClientID}, nil
	default:
		return whose{}, fmt.Errorf(
			"mic is the application %[1]s, and its object id is known to Entra ID alone: give --principal-id \"$(az ad sp show --id %[1]s --query id --output tsv)\"",
			quote(c.ClientID))
	}
}
