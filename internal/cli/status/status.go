// Package status is the command podid status: podid's own parts, the machines that
// identities are on, and the identities.
package status

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/podid-io/podid/internal/cli/cluster"
	"github.com/podid-io/podid/internal/cli/command"
	"github.com/podid-io/podid/internal/cli/exit"
	"github.com/podid-io/podid/internal/cli/screen"
)

// errNotWell is the status where a part is not ready, or something is refused.
const errNotWell = exit.Error(1)

// options are the flags.
type options struct {
	command.Options

	watch bool
}

// New makes the command.
func New(c command.Config) *cobra.Command {
	o := &options{Options: command.NewOptions(c, "text")}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show podid's parts, the machines with identities, and the identities",
		Long: `Show podid's own parts with their versions and whether they are ready, the VMs and
scale sets with how many identities are wanted and attached there, and each
AzureIdentity with its pods and whether it is attached.

With --watch it is shown again whenever something of it has changed.

The command ends with status 0 when all parts are ready and nothing is refused, with
1 when not, and with 2 when the command was not understood or something could not be
read. podid doctor says what to do.`,
		Example: `  podid status
  podid status --watch
  podid status -o json`,
	}
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "show it again whenever something has changed, until interrupted")
	o.Bind(cmd, func(c *cobra.Command, args []string) error {
		r, err := o.run(c.Context(), o.Screen(c), args)
		if err != nil {
			return err
		}
		return r.status()
	})
	return cmd
}

// run shows it once, or until it is interrupted.
func (o *options) run(ctx context.Context, s *screen.Screen, args []string) (r *report, err error) {
	if err := command.NoArgs(args); err != nil {
		return nil, err
	}
	c, err := o.Open()
	if err != nil {
		return nil, err
	}
	if !o.watch {
		return o.show(ctx, c, s)
	}
	err = follow(ctx, c, func(ctx context.Context) error {
		s.Clear()
		shown, err := o.show(ctx, c, s)
		if err == nil {
			r = shown
		}
		return err
	})
	if errors.Is(err, context.Canceled) { // interrupted, as it is meant to be
		return r, nil
	}
	return r, err
}

// show reads and prints it.
func (o *options) show(ctx context.Context, c *cluster.Cluster, s *screen.Screen) (r *report, err error) {
	r, err = read(ctx, c)
	if err != nil {
		return nil, err
	}
	if o.Output.JSON() {
		return r, s.JSON(r)
	}
	return r, r.print(s)
}
