package main

import (
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/podid-io/podid/internal/telemetry"
)

// command is nmi with all its commands.
func command(ctx context.Context, stdout io.Writer) *cobra.Command {
	o := options{node: os.Getenv("NODE_NAME"), stdout: stdout}
	root := &cobra.Command{
		Use:           "nmi",
		Short:         "The node agent of podid: answers pods at the metadata address",
		Args:          cobra.NoArgs,
		Version:       telemetry.Version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(*cobra.Command, []string) error { return o.run(ctx) },
	}
	root.Flags().Bool("version", false, "print the version") // without cobra's -v, which is klog's
	o.addFlags(root.Flags())
	root.AddCommand(o.uninstallCommand(ctx), explainCommand(ctx, stdout))
	root.AddCommand(telemetry.AskCommands(ctx, "the agent that runs on this node", defaultHealth, stdout)...)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetErr(os.Stderr) // and with it lines of deprecation: standard output is the audit log's
	return root
}

// uninstallCommand takes the redirect off.
func (o *options) uninstallCommand(ctx context.Context) *cobra.Command {
	var stay bool
	c := &cobra.Command{
		Use:   "uninstall-redirect",
		Short: "Take the redirect of the metadata address off this node, as an uninstall does",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			err := o.uninstallRedirect()
			if err == nil && stay {
				err = o.stay(ctx)
			}
			return err
		},
	}
	o.addRedirectFlags(c.Flags())
	c.Flags().BoolVar(&stay, "stay", false, "wait until ended, for a DaemonSet, which would start it again and again")
	c.Flags().StringVar(&o.healthListen, "health-listen", defaultHealth, "where it says meanwhile that it is ready, which means done; empty means nowhere")
	return c
}
