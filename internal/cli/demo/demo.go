// Package demo runs the main job on real parts, on one machine: a control
// plane, an emulated Azure, mic, and two nodes each with its nmi.
package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/podid-io/podid/internal/cli/exit"
	"github.com/podid-io/podid/internal/telemetry"
	"github.com/podid-io/podid/test/localcluster"
)

// options are the flags.
type options struct {
	dir      string
	armDelay time.Duration
}

// New makes the command and its subcommands.
func New() *cobra.Command {
	o := &options{}
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show the main job on this machine: a pod gets its own Azure token",
		Long: `Show the main job on this machine: a pod on a real API server gets its own Azure token.

Everything runs in network namespaces of its own; the machine's network is not
touched. Nothing is left when the demo ends.`,
		Example: `  podid demo
  podid demo up
  podid demo down`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return o.demo(c) },
	}
	c.PersistentFlags().StringVar(&o.dir, "dir", ".local", "folder for state, logs and keys")
	c.PersistentFlags().DurationVar(&o.armDelay, "arm-delay", 3*time.Second, "how long Azure takes to put an identity on a scale set")
	up := &cobra.Command{
		Use: "up", Short: "Start the demo's cluster and leave it running", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return o.up(c) },
	}
	down := &cobra.Command{
		Use: "down", Short: "End what up started", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return o.down(c) },
	}
	serve := &cobra.Command{
		Use: "serve", Hidden: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return o.serve(c) },
	}
	exec := &cobra.Command{
		Use:     "exec NAMESPACE/POD -- COMMAND [ARG...]",
		Short:   "Run a command in the network of a pod of the running cluster",
		Example: "  podid demo exec default/vault-app -- curl -s -H Metadata:true 'http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net'",
		Args:    cobra.MinimumNArgs(2),
		RunE:    func(_ *cobra.Command, args []string) error { return o.exec(args[0], args[1:]) },
	}
	c.AddCommand(up, down, serve, exec)
	return c
}

// quiet drops what the Kubernetes libraries log of their own accord.
func quiet() { telemetry.Bridge(slog.New(slog.DiscardHandler)) }

// demo runs the whole of it and ends with status 0 only if all of it held.
func (o *options) demo(c *cobra.Command) error {
	ctx := c.Context()
	if !localcluster.Inside() {
		if _, err := localcluster.Build(ctx, c.OutOrStdout()); err != nil {
			return err
		}
	}
	ran, code, err := localcluster.Reexec(ctx, localcluster.SandboxConfig{})
	switch {
	case err != nil:
		return err
	case ran && code != 0:
		return exit.Error(code)
	case ran:
		return nil
	}
	quiet()
	dir, err := os.MkdirTemp("", "podid-demo-")
	if err != nil {
		return err
	}
	w, err := Start(ctx, Config{Dir: dir, ARMDelay: o.armDelay, Out: c.OutOrStdout()})
	if err != nil {
		return fmt.Errorf("%w (logs are in %s)", err, dir)
	}
	defer w.Stop()
	if err := w.quickstart(ctx); err != nil {
		return fmt.Errorf("%w (logs are in %s)", err, dir)
	}
	if n := w.story.failures(); n > 0 {
		w.story.say("%d of the claims did not hold; logs are in %s", n, dir)
		return exit.Error(1)
	}
	w.story.say("all of it held")
	w.Stop()
	return os.RemoveAll(dir)
}

// exec runs a command in a pod of the cluster that up started.
func (o *options) exec(target string, argv []string) error {
	socket := filepath.Join(o.dir, "exec.sock")
	if _, err := os.Stat(socket); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("no cluster runs in %s: start one with `make up`", o.dir)
	}
	code, err := localcluster.Exec(context.Background(), socket, target, argv, os.Stdin, os.Stdout, os.Stderr)
	if err != nil {
		return err
	}
	if code != 0 {
		return exit.Error(code)
	}
	return nil
}
