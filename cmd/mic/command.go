package main

import (
	"cmp"
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/podid-io/podid/internal/telemetry"
)

// usageError is the error of a bad flag or argument.
type usageError struct{ error }

// command is mic with all its commands.
func command(ctx context.Context, stdout io.Writer) *cobra.Command {
	o := options{namespace: cmp.Or(os.Getenv("POD_NAMESPACE"), os.Getenv("MIC_POD_NAMESPACE")), getenv: os.Getenv}
	root := &cobra.Command{
		Use:           "mic",
		Short:         "The controller of podid: brings managed identities to the machines of the pods that need them",
		Args:          func(c *cobra.Command, args []string) error { return asUsage(cobra.NoArgs(c, args)) },
		Version:       telemetry.Version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(*cobra.Command, []string) error { return o.run(ctx) },
	}
	root.Flags().Bool("version", false, "print the version") // without cobra's -v, which is klog's
	cleaning := o
	root.AddCommand(cleaning.cleanupCommand(ctx, stdout))
	o.addFlags(root.Flags())
	root.AddCommand(telemetry.AskCommands(ctx, "the controller that runs in this pod", defaultHealth, stdout)...)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return asUsage(err) })
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetOut(stdout)
	root.SetErr(os.Stderr) // and with it lines of deprecation
	return root
}

func asUsage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}
