// Package status is the command podid status: podid's own parts, the machines that
// identities are on, and the identities.
package status

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/podid-io/podid/internal/cli/cluster"
	"github.com/podid-io/podid/internal/cli/exit"
	"github.com/podid-io/podid/internal/cli/screen"
	"github.com/podid-io/podid/internal/shell"
)

// The statuses that the command ends with, beside 0.
const (
	errNotWell     = exit.Error(1)
	errNotFoundOut = exit.Error(2)
)

// Config is what the command has of its process.
type Config struct {
	// Getenv reads the environment.
	Getenv func(string) string
	// Ask is how agents are asked; nil means by exec, as kubectl does.
	Ask cluster.Asker
}

// options are the flags.
type options struct {
	Config

	kube   *cluster.Flags
	output string
	watch  bool
}

// New makes the command.
func New(c Config) *cobra.Command {
	o := &options{Config: c, kube: cluster.NewFlags()}
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
		Args:          cobra.ArbitraryArgs, // check says it in our words, and with our status
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(c *cobra.Command, args []string) error {
			r, err := o.run(c.Context(), screen.New(c.OutOrStdout(), o.Getenv), args)
			if err != nil {
				return tell(c, err)
			}
			return r.status()
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.SetFlagErrorFunc(tell)
	f := cmd.Flags()
	f.BoolVarP(&o.watch, "watch", "w", false, "show it again whenever something has changed, until interrupted")
	f.StringVarP(&o.output, "output", "o", "text", "text or json")
	o.kube.Add(f)
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	return cmd
}

// tell says what is wrong, and makes the status of it.
func tell(c *cobra.Command, err error) error {
	_, _ = fmt.Fprintln(c.ErrOrStderr(), "podid status:", shell.Printable(err.Error())) // nowhere else to say it
	return errNotFoundOut
}

// run shows it once, or until it is interrupted.
func (o *options) run(ctx context.Context, s *screen.Screen, args []string) (r *report, err error) {
	switch {
	case len(args) > 0:
		return nil, fmt.Errorf("argument %q: the command takes none", args[0])
	case o.output != "text" && o.output != "json":
		return nil, fmt.Errorf("--output=%s: write text or json", o.output)
	}
	c, err := o.kube.Open(o.Ask)
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
	if o.output == "json" {
		return r, s.JSON(r)
	}
	return r, r.print(s)
}
