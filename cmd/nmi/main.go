// Command nmi is the node agent: it brings what the pods of its node ask of the
// metadata address to itself and answers each with tokens of its own identity.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/podid-io/podid/internal/telemetry"
)

func main() {
	runtime.MemProfileRate = 0 // half a MiB, for a profile that nobody can ask for without --pprof-listen
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "nmi:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
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
	var stay bool
	uninstall := &cobra.Command{
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
	o.addRedirectFlags(uninstall.Flags())
	uninstall.Flags().BoolVar(&stay, "stay", false, "wait until ended, for a DaemonSet, which would start it again and again")
	uninstall.Flags().StringVar(&o.healthListen, "health-listen", defaultHealth, "where it says meanwhile that it is ready, which means done; empty means nowhere")
	root.AddCommand(uninstall, explainCommand(ctx, stdout))
	root.AddCommand(telemetry.AskCommands(ctx, "the agent that runs on this node", defaultHealth, stdout)...)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetArgs(args)
	root.SetErr(os.Stderr) // and with it lines of deprecation: standard output is the audit log's
	return root.ExecuteContext(ctx)
}
