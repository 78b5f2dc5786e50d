// Package whocan is the command podid who-can: which pods have an identity, which can
// take it on its machines, and who could have it by his rights in the cluster.
package whocan

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/podid-io/podid/internal/cli/command"
	"github.com/podid-io/podid/internal/cli/exit"
	"github.com/podid-io/podid/internal/whocan"
)

// errNoSuchIdentity is the status where there is no such AzureIdentity.
const errNoSuchIdentity = exit.Error(1)

// options are the flags.
type options struct {
	command.Options

	across              bool
	exceptionNamespaces []string
}

// New makes the command.
func New(c command.Config) *cobra.Command {
	o := &options{Options: command.NewOptions(c, "table")}
	cmd := &cobra.Command{
		Use:   "who-can IDENTITY",
		Short: "List the pods that have an identity, and everybody who could have it",
		Long: `List the pods that have an identity of Azure now, the pods on its machines that can
take it past nmi, and every user, group and service account that could have it by what
RBAC allows, each with the binding and the role that allow it.

IDENTITY is the name of an AzureIdentity, a client id or the resource id of an identity.
All AzureIdentities that name the same identity count.

Groups are not expanded to the people in them, which no cluster knows. Rights are
listed rather once too often: one that is limited to some names counts, and so does
one that needs another beside it. What RBAC does not know is not listed: other
authorizers, operators that make pods of objects of their own, roles in Azure, and
whoever is root on a node.

The command ends with status 0 when it found out everything, with 1 when there is no
such AzureIdentity, and with 2 when not everything could be read.
docs/who.md has the rest.`,
		Example: `  podid who-can blob-reader -n team
  podid who-can 00000000-0000-0000-0000-000000000000
  podid who-can /subscriptions/S/resourceGroups/G/providers/Microsoft.ManagedIdentity/userAssignedIdentities/blob-reader -o json`,
		ValidArgsFunction: o.CompleteIdentities,
	}
	f := cmd.Flags()
	f.BoolVar(&o.across, "allow-cross-namespace", false, "podid runs with this flag (default what its pods show)")
	f.StringSliceVar(&o.exceptionNamespaces, "exception-namespaces", nil, "podid runs with this flag (default what its pods show)")
	o.Bind(cmd, o.run)
	return cmd
}

func (o *options) run(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("write one identity: the name of an AzureIdentity, a client id or a resource id; got %d", len(args))
	}
	api, err := o.Open()
	if err != nil {
		return err
	}
	r := reading{Cluster: api}
	objects, err := r.read(c.Context())
	if err != nil {
		return err
	}
	objects.Rules, objects.Managed = o.rules(c.Flags(), &r, objects.Pods)
	target, err := whocan.Resolve(objects, api.Namespace, args[0])
	if err != nil {
		if r.incomplete {
			return err // it may be among what was left out
		}
		return command.Fail(errNoSuchIdentity, err)
	}
	report := whocan.Find(objects, target, time.Now())
	report.Incomplete, report.Notes = r.incomplete, append(report.Notes, r.notes...)
	if err := write(o.Screen(c), report, o.Output.JSON()); err != nil {
		return err
	}
	if r.incomplete {
		return command.ErrNotFoundOut
	}
	return nil
}
