// Command mic is the controller: it brings managed identities to the virtual
// machines and scale sets of the pods that need them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

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

func run(ctx context.Context, args []string, stdout io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := command(ctx, stdout)
	args = telemetry.DoubleDashes(root.Flags(), args)
	for _, c := range root.Commands() {
		args = telemetry.DoubleDashes(c.Flags(), args)
	}
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}
