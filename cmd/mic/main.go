// Command mic is the controller: it brings managed identities to the virtual
// machines and scale sets of the pods that need them.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/podid-io/podid/internal/telemetry"
)

func main() {
	err := run(context.Background(), os.Args[1:], os.Stdout)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "mic:", err)
	if _, usage := errors.AsType[usageError](err); usage {
		os.Exit(2)
	}
	os.Exit(1)
}

// usageError is the error of a bad flag or argument.
type usageError struct{ error }

func run(ctx context.Context, args []string, stdout io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
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
	clean := cleaning.cleanupCommand(ctx, stdout)
	root.AddCommand(clean)
	o.addFlags(root.Flags())
	root.AddCommand(telemetry.AskCommands(ctx, "the controller that runs in this pod", defaultHealth, stdout)...)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return asUsage(err) })
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetArgs(telemetry.DoubleDashes(clean.Flags(), telemetry.DoubleDashes(root.Flags(), args)))
	root.SetOut(stdout)
	root.SetErr(os.Stderr) // and with it lines of deprecation
	return root.ExecuteContext(ctx)
}

func asUsage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}
