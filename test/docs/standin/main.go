// Command standin stands in for programs that the documentation names and that a
// test cannot let do what they do. By the name that it is called by it is
//
//	az            the commands that the pages use, with flags from their
//	              documentation and no others, carried out in the emulator
//	              (DOCS_AZURE: its admin API)
//	skopeo, ctr   the same, without effect
//	make          make -n, for targets and variables that the Makefile has; up and
//	              down for real
//	helm, podid   the real ones (DOCS_HELM, DOCS_PODID), told of the emulated cloud
//	              where it takes a flag to do so
//
// What it does not know it refuses, so that a wrong word on a page is found.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// world is what the stand-ins know of where they run.
type world struct {
	getenv func(string) string
	in     io.Reader
	out    io.Writer
}

func main() {
	w := world{getenv: os.Getenv, in: os.Stdin, out: os.Stdout}
	err := w.run(context.Background(), filepath.Base(os.Args[0]), os.Args[1:])
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, errors.Join(err, w.note("failed", err.Error())))
		os.Exit(98)
	}
}

// note adds a line to a file of what the page's run has noted. What is refused is
// a fault of the page also where the shell passes over it.
func (w world) note(name, line string) error {
	scratch := w.getenv("DOCS_SCRATCH")
	if scratch == "" {
		return nil // no page runs
	}
	f, err := os.OpenFile(filepath.Join(scratch, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, line)
	return errors.Join(err, f.Close())
}

// notes are the lines of such a file.
func (w world) notes(name string) []string {
	text, _ := os.ReadFile(filepath.Join(w.getenv("DOCS_SCRATCH"), name)) // there is none before the first
	return strings.Fields(string(text))
}

func (w world) run(ctx context.Context, name string, args []string) error {
	switch name {
	case "az", "skopeo", "ctr":
		return w.command(ctx, name, args)
	case "make":
		return w.make(ctx, args)
	case "helm":
		if values := w.getenv("DOCS_VALUES"); values != "" && len(args) > 0 && (args[0] == "install" || args[0] == "upgrade") {
			args = append(args, "--values", values)
		}
		return program(ctx, w.getenv("DOCS_HELM"), args)
	case "podid", "kubectl-podid":
		if len(args) > 0 && args[0] == "roles" {
			args = append(args, "--cloud", "AzureStackCloud")
		}
		return program(ctx, w.getenv("DOCS_PODID"), args)
	}
	return fmt.Errorf("there is no stand-in for %s", name)
}

// program runs a program in place of this one.
func program(ctx context.Context, name string, args []string) error {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // the test says which
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}
