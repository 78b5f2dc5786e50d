// Command azemu emulates the Azure endpoints that podid touches: Resource
// Manager, Entra ID and the instance metadata service of each machine.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "azemu:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	c := command(ctx)
	c.SetArgs(args)
	c.SetOut(stdout)
	return c.Execute()
}
