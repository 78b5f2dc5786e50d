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
	root := command(ctx, stdout)
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}
