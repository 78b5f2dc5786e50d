package demo

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// background starts a program with its output in a log file, and tells when it has
// ended. One that ends before it is told to is a claim that did not hold.
func (w *World) background(ctx context.Context, name string, cmd *exec.Cmd, start, wait func() error) (<-chan struct{}, error) {
	f, err := os.OpenFile(w.path(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = f, f
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 15 * time.Second
	err = start()
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	ended := make(chan struct{})
	go func() { // ends with the program, which ends with ctx
		defer close(ended)
		err := wait()
		_ = f.Close() // the program has closed its own
		if ctx.Err() == nil {
			w.story.claim(false, "%s ended: %v; its log ends with: %s", name, err, lastLine(w.path(name+".log")))
		}
	}()
	return ended, nil
}

// lastLine is the end of a log.
func lastLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}

// awaitReady waits for /readyz of a program.
func (w *World) awaitReady(ctx context.Context, name string, at netip.AddrPort) error {
	url := "http://" + at.String() + "/readyz"
	client := &http.Client{Timeout: 2 * time.Second}
	return await(ctx, name, func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("not ready: %s", strings.TrimSpace(string(body)))
		}
		return err
	})
}

// patience is how long is waited for what must come before it counts as stuck.
const patience = time.Minute

// await asks ten times a second until the answer is good: for programs that
// have nothing else to wait on.
func await(ctx context.Context, what string, ok func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s was not ready within %s: %w", what, patience, err)
		}
	}
}
