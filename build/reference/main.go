// Command reference writes docs/reference: the flags of podid's programs, the
// values of its chart, its metrics and its kinds, each from where it is defined.
// The same sources give the same bytes, without a cluster.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	flags := flag.NewFlagSet("reference", flag.ContinueOnError)
	root := flags.String("root", ".", "root of the module")
	dir := flags.String("o", "docs/reference", "folder to write to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := os.MkdirAll(*dir, 0o750); err != nil {
		return err
	}
	for name, write := range map[string]func(context.Context, string) (*page, error){
		"flags.md": flagsPage, "values.md": valuesPage, "metrics.md": metricsPage, "crds.md": crdsPage,
	} {
		p, err := write(ctx, *root)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(*dir, name), []byte(p.text.String()), 0o600); err != nil {
			return err
		}
	}
	return nil
}
