package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/podid-io/podid/internal/cli/exit"
	"github.com/podid-io/podid/test/localcluster"
)

// Files in the folder of a cluster that stays.
const (
	pidFile   = "pid"
	readyFile = "ready"
	logFile   = "up.log"
	envFile   = "env"
)

// up starts the cluster in a process of its own and returns when it is ready.
func (o *options) up(c *cobra.Command) error {
	ctx, out := c.Context(), c.OutOrStdout()
	if pid := o.running(); pid != 0 {
		_, _ = fmt.Fprintf(out, "a cluster runs already (process %d); its settings are in %s\n", pid, filepath.Join(o.dir, envFile))
		return nil
	}
	if err := localcluster.Supported(); err != nil {
		return err
	}
	if _, err := localcluster.Build(ctx, out); err != nil {
		return err
	}
	if err := errors.Join(o.clear(), os.MkdirAll(o.dir, 0o700)); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(o.dir, logFile))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the process has its own
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// Not tied to ctx: it goes on when this command has ended.
	cmd := exec.Command(self, "demo", "serve", "--dir", o.dir, "--arm-delay", o.armDelay.String()) //nolint:noctx // see above
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the cluster: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // ends with the process, or with this one
	if err := o.follow(ctx, out, ended); err != nil {
		_ = o.end(cmd.Process.Pid) // what could not start
		return err
	}
	_, _ = fmt.Fprintf(out, "ready; settings for your shell:  . %s\n", filepath.Join(o.dir, envFile))
	return nil
}

// follow shows the log of the starting cluster until it is ready.
func (o *options) follow(ctx context.Context, out io.Writer, ended <-chan error) error {
	log, err := os.Open(filepath.Join(o.dir, logFile))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // only read
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		_, _ = io.Copy(out, log) // what is new since the last time
		if _, err := os.Stat(filepath.Join(o.dir, readyFile)); err == nil {
			return nil
		}
		select {
		case err := <-ended:
			_, _ = io.Copy(out, log)
			return fmt.Errorf("the cluster ended before it was ready: %w", errors.Join(err, ctx.Err()))
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// serve is the process that stays: outside of the sandbox it relays the ports
// of this machine's loopback to those inside, where everything runs.
func (o *options) serve(c *cobra.Command) error {
	ctx := c.Context()
	if localcluster.Inside() {
		return o.serveInside(c)
	}
	if ran, code, err := o.enter(ctx); err != nil || ran {
		if err == nil && code != 0 {
			err = exit.Error(code)
		}
		return err
	}
	return o.serveInside(c)
}

// enter starts the sandbox, with the relays beside it.
func (o *options) enter(ctx context.Context) (ran bool, code int, err error) {
	if os.Getenv("PODID_SANDBOX") == "" { // outside: the first of the two
		if err := os.WriteFile(filepath.Join(o.dir, pidFile), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
			return true, 1, err
		}
		stop, err := o.relayOutside(ctx)
		if err != nil {
			return true, 1, err
		}
		defer stop()
	}
	return localcluster.Reexec(ctx, localcluster.SandboxConfig{})
}

// serveInside starts everything and stays until it is told to end.
func (o *options) serveInside(c *cobra.Command) error {
	ctx := c.Context()
	quiet()
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return err
	}
	w, err := Start(ctx, Config{Dir: dir, ARMDelay: o.armDelay, Out: c.OutOrStdout()})
	if err != nil {
		return err
	}
	defer w.Stop()
	stop, err := w.relayInside(ctx)
	if err != nil {
		return err
	}
	defer stop()
	if err := w.writeEnv(); err != nil {
		return err
	}
	if err := w.Cluster.ServeExec(ctx, filepath.Join(dir, "exec.sock")); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, readyFile), nil, 0o600); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// down ends the cluster, also one whose process was killed, and removes its folder.
func (o *options) down(c *cobra.Command) error {
	if pid := o.running(); pid != 0 {
		if err := o.end(pid); err != nil {
			return err
		}
		_, _ = fmt.Fprintln(c.OutOrStdout(), "ended")
	}
	return o.clear()
}

// running is the process of the cluster in the folder, or 0. A process that
// merely has its number is not taken for it.
func (o *options) running() int {
	b, err := os.ReadFile(filepath.Join(o.dir, pidFile))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.Contains(string(cmdline), "demo\x00serve\x00") {
		return 0
	}
	return pid
}

// end asks the process to end, and makes it after twenty seconds. Everything
// in its sandbox dies with it.
func (o *options) end(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("end process %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(fd) }()
	for _, step := range []struct {
		signal unix.Signal
		wait   time.Duration
	}{{unix.SIGTERM, 20 * time.Second}, {unix.SIGKILL, 5 * time.Second}} {
		if err := unix.PidfdSendSignal(fd, step.signal, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("end process %d: %w", pid, err)
		}
		if ended(fd, step.wait) {
			return nil
		}
	}
	return fmt.Errorf("process %d does not end", pid)
}

// ended waits for the process behind a pidfd.
func ended(pidfd int, limit time.Duration) bool {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		wait := int(time.Until(deadline).Milliseconds()) + 1
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, wait) //nolint:gosec // a file descriptor fits
		if n > 0 {
			return true
		}
		if err != nil && !errors.Is(err, unix.EINTR) { // Go's own signals interrupt
			return false
		}
	}
	return false
}

// clear removes what a cluster left in the folder, by name, and the folder if
// nothing else is in it. A folder that no cluster ran in stays as it is.
func (o *options) clear() error {
	if _, err := os.Stat(filepath.Join(o.dir, logFile)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var errs []error
	for _, pattern := range []string{
		pidFile, readyFile, logFile, envFile, "*.addr", "*.sock", "*.kubeconfig", "kubeconfig",
		"azure*.json", "azure-ca.pem", "azemu.log", "mic.log", "nmi-*.log", "audit-*.jsonl", "manifests", "cluster",
	} {
		names, err := filepath.Glob(filepath.Join(o.dir, pattern))
		errs = append(errs, err)
		for _, name := range names {
			errs = append(errs, os.RemoveAll(name))
		}
	}
	if err := os.Remove(o.dir); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
