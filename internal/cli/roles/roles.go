// Package roles is the command podid roles: which roles in Azure mic needs for a
// cluster as it is, which of them it has, and, if told to, the missing ones made.
package roles

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/podid-io/podid/internal/cli/command"
	"github.com/podid-io/podid/internal/cli/exit"
	"github.com/podid-io/podid/internal/roles"
)

// errMissing is the status where a role is missing.
const errMissing = exit.Error(1)

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
	managedIdentity                    bool
	nodeGroups                         []string
	identityScope                      string
	output                             command.Output
	delegated, principalTenant         string
}

// New makes the command.
func New(c Config) *cobra.Command {
	o := &options{Config: c, kube: genericclioptions.NewConfigFlags(true), output: command.NewOutput("table")}
	o.kube.Namespace, o.kube.CacheDir = nil, nil // all namespaces count, and nothing is cached
	cmd := &cobra.Command{
		Use:   "roles",
		Short: "Print, check and make the role assignments in Azure that mic needs",
		Long: `Print which roles in Azure mic needs for this cluster, from its nodes and its
AzureIdentities, and which of them it has. With --apply, make the missing ones.

Say who mic is by one of --principal-id, --identity-resource-id and --cloud-config.
Sign in to Azure first, for example with az login.

The command ends with status 0 when nothing is missing (or is any more), with 1 when
something is, and with 2 when that could not be found out, or not of everything.
docs/roles.md has the rest.`,
		Example: `  podid roles --identity-resource-id /subscriptions/S/resourceGroups/G/providers/Microsoft.ManagedIdentity/userAssignedIdentities/mic
  podid roles --principal-id 00000000-0000-0000-0000-000000000000 --apply`,
		RunE: func(c *cobra.Command, args []string) error {
			r, err := o.run(c, args)
			if err != nil {
				return command.End(c, err)
			}
			return r.status()
		},
	}
	cmd.SetFlagErrorFunc(command.End)
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
	f.StringVar(&o.principalTenant, "principal-tenant-id", "", "tenant that mic's identity is in, where it is another than that of the subscriptions, to look up there what it has")
	f.StringArrayVar(&o.nodeGroups, "node-resource-group", nil, "resource group with nodes where mic is to change machines, where nodes are in several: its name, or its ARM id (can be repeated)")
	f.BoolVar(&o.managedIdentity, "use-managed-identity", false, "sign in as the managed identity of the machine that the command runs on")
	f.BoolVar(&o.apply, "apply", false, "make what is missing")
	o.output.Add(c)
	o.kube.AddFlags(f)
}

// run makes the report, and what it says is missing if told to.
func (o *options) run(c *cobra.Command, args []string) (*report, error) {
	if err := o.check(args); err != nil {
		return nil, err
	}
	ctx := c.Context()
	az, who, err := o.signIn()
	if err != nil {
		return nil, err
	}
	r := &report{Cloud: az.name, Roles: []*row{}}
	cluster, err := o.cluster(ctx, r)
	if err != nil {
		return nil, err
	}
	needs, refused := roles.Needs(cluster, o.identityScope == byGroup)
	for _, err := range refused {
		r.leaveOut(err.Error())
	}
	if err := roles.Expect(needs, o.nodeGroups); err != nil {
		return nil, fmt.Errorf("--node-resource-group: %w", err)
	}
	if r.SignedIn, err = o.account(ctx, az); err != nil {
		return nil, err
	}
	if r.Principals, err = az.principals(ctx, r, who, cluster); err != nil {
		return nil, err
	}
	if err := o.checkPrincipals(r.Principals, cluster.Identities); err != nil {
		return nil, err
	}
	if err := az.safeByObject(ctx, r, cluster.Identities); err != nil {
		return nil, err
	}
	if err := az.compare(ctx, r, needs, o); err != nil {
		return nil, err
	}
	if o.apply && !r.ambiguous() {
		az.apply(ctx, r)
	}
	return r, r.print(c.OutOrStdout(), o)
}
