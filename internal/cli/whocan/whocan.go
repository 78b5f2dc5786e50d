// Package whocan is the command podid who-can: which pods have an identity, which can
// take it on its machines, and who could have it by his rights in the cluster.
package whocan

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/podid-io/podid/internal/cli/cluster"
	"github.com/podid-io/podid/internal/cli/exit"
	"github.com/podid-io/podid/internal/shell"
	"github.com/podid-io/podid/internal/whocan"
)

// The statuses that the command ends with, beside 0.
const (
	errNoSuchIdentity = exit.Error(1)
	errNotFoundOut    = exit.Error(2)
)

// options are the flags.
type options struct {
	flags *cluster.Flags

	output              string
	across              bool
	exceptionNamespaces []string
}

// New makes the command.
func New() *cobra.Command {
	o := &options{flags: cluster.NewFlags()}
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
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error { return o.run(c, args) },
	}
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return tell(c, errNotFoundOut, err) })
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "table", "table or json")
	f.BoolVar(&o.across, "allow-cross-namespace", false, "podid runs with this flag (default what its pods show)")
	f.StringSliceVar(&o.exceptionNamespaces, "exception-namespaces", nil, "podid runs with this flag (default what its pods show)")
	o.flags.Add(f)
	return cmd
}

// tell says what is wrong, and makes the status of it.
func tell(c *cobra.Command, status exit.Error, err error) error {
	_, _ = fmt.Fprintln(c.ErrOrStderr(), "podid who-can:", shell.Printable(err.Error())) // nowhere else to say it
	return status
}

func (o *options) run(c *cobra.Command, args []string) error {
	switch {
	case len(args) != 1:
		return tell(c, errNotFoundOut, fmt.Errorf("write one identity: the name of an AzureIdentity, a client id or a resource id; got %d", len(args)))
	case o.output != "table" && o.output != "json":
		return tell(c, errNotFoundOut, fmt.Errorf("--output=%s: write table or json", o.output))
	}
	api, err := o.flags.Open(nil)
	if err != nil {
		return tell(c, errNotFoundOut, err)
	}
	r := reading{Cluster: api}
	objects, err := r.read(c.Context())
	if err != nil {
		return tell(c, errNotFoundOut, err)
	}
	objects.Rules, objects.Managed = o.rules(c.Flags(), &r, objects.Pods)
	target, err := whocan.Resolve(objects, api.Namespace, args[0])
	if err != nil {
		status := errNoSuchIdentity
		if r.incomplete {
			status = errNotFoundOut
		}
		return tell(c, status, err)
	}
	report := whocan.Find(objects, target, time.Now())
	report.Incomplete, report.Notes = r.incomplete, append(report.Notes, r.notes...)
	if err := write(c.OutOrStdout(), report, o.output); err != nil {
		return tell(c, errNotFoundOut, err)
	}
	if r.incomplete {
		return errNotFoundOut
	}
	return nil
}
