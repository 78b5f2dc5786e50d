// Command soak runs the long tests at full stretch, for as long as it is told
// to, and prints what they found, a line of JSON for each figure: the churn tests
// with their planted bugs, in memory and in network namespaces, the test of the
// controller against its model, and each fuzz target of the module in turn.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "soak:", err) // nowhere else to say it
		os.Exit(1)
	}
}

// soak is one run.
type soak struct {
	lasts time.Duration
	out   *json.Encoder
	log   io.Writer
}

func run(ctx context.Context, args []string, out, log io.Writer) error {
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	lasts := flags.Duration("lasts", time.Minute, "how long each churn test, that of the controller, and each fuzz target, goes on")
	only := flags.String("only", "", "run one alone: churn, netns, mic or fuzz")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s := &soak{lasts: *lasts, out: json.NewEncoder(out), log: log}
	tests := []struct {
		name string
		run  func(context.Context) error
	}{
		{"churn", func(ctx context.Context) error { return s.churn(ctx, "./test/churn") }},
		{"netns", func(ctx context.Context) error { return s.churn(ctx, "./test/churn/netns") }},
		// It waits more than it works, so that several worlds live at a time.
		{"mic", func(ctx context.Context) error { return s.churn(ctx, "./test/controller", "-race", "-worlds", "4") }},
		{"fuzz", s.fuzz},
	}
	start, known := time.Now(), *only == ""
	var errs []error
	for _, t := range tests {
		if *only == "" || *only == t.name {
			known = true
			errs = append(errs, t.run(ctx))
		}
	}
	if !known {
		return fmt.Errorf("-only %q is unknown: write churn, netns, mic or fuzz", *only)
	}
	return errors.Join(append(errs, s.figure("soak_seconds", int(time.Since(start).Seconds())))...)
}

func (s *soak) figure(name string, value any) error {
	return s.out.Encode(struct {
		Name  string `json:"name"`
		Value any    `json:"value"`
	}{name, value})
}

// churn runs a churn test, or one like it, for so long and at least its whole story,
// and passes its figures on.
func (s *soak) churn(ctx context.Context, pkg string, more ...string) error {
	dir, err := os.MkdirTemp("", "soak")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary file
	file := filepath.Join(dir, "figures")
	args := slices.Concat([]string{"-count=1", "-timeout", s.timeout(), pkg, "-lasts", s.lasts.String(), "-figures", file}, more)
	failed := s.test(ctx, s.log, args...)
	if failed != nil {
		failed = fmt.Errorf("the test in %s: %w", pkg, failed)
	}
	f, err := os.Open(file)
	if err != nil {
		return errors.Join(failed, err)
	}
	defer func() { _ = f.Close() }() // only read from
	for lines := json.NewDecoder(f); ; {
		var line struct {
			Name  string `json:"name"`
			Value any    `json:"value"`
		}
		lines.UseNumber()
		if err := lines.Decode(&line); errors.Is(err, io.EOF) {
			return failed
		} else if err != nil {
			return errors.Join(failed, err)
		}
		if err := s.figure(line.Name, line.Value); err != nil {
			return err
		}
	}
}

// timeout is what a test has: it compiles, and a churn test lives its whole
// story.
func (s *soak) timeout() string { return (s.lasts + 30*time.Minute).String() }

// test runs go test in the root of the module.
func (s *soak) test(ctx context.Context, out io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test"}, args...)...) //nolint:gosec // our own words
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 10 * time.Second
	return cmd.Run()
}
