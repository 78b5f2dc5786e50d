// Command podid is the command line of podid.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/podid-io/podid/internal/cli"
)

func main() {
	err := run(context.Background(), os.Args[1:], os.Stdout)
	var exit cli.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(int(exit))
	case err != nil:
		fmt.Fprintln(os.Stderr, "podid:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := cli.New(cli.Config{Name: os.Args[0], Getenv: os.Getenv})
	root.SetArgs(args)
	root.SetOut(stdout)
	return root.ExecuteContext(ctx)
}
