package localcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrUnsupported is the kind of error that tells that this kernel, or the
// container that the program runs in, refuses what a sandbox needs.
var ErrUnsupported = errors.New("network namespaces are not available here")

const (
	// sandboxEnv tells a program where it stands. "enter" is for the first
	// program of a sandbox, which must set it up; "inside:" and the name of the
	// sandbox's process namespace is for it afterwards, and for its children;
	// "machine" is for the first program of a machine in the sandbox.
	sandboxEnv     = "PODID_SANDBOX"
	sandboxEnter   = "enter"
	sandboxProbe   = "probe"
	sandboxInside  = "inside:"
	sandboxMachine = "machine"

	reportFile = 3 // the inner program's file descriptor for what went wrong
)

// SandboxConfig says how a program enters its sandbox.
type SandboxConfig struct {
	// Grace is how long the program may take to end after ctx is done and it
	// was sent SIGTERM, before it is killed. Zero means 10 seconds.
	Grace time.Duration
}

// Reexec runs the calling program once more, with the same arguments and
// standard files, in new network, mount and process namespaces, and, when the
// caller is not root, in a user namespace where it is.
//
// Outside, Reexec returns when that program has ended: ran is true and exitCode
// is what the caller should exit with (128 and the signal's number if a signal
// ended it). Signals that ask to stop are passed on; when the caller dies, by
// whatever means, everything in the sandbox is killed.
//
// Inside, Reexec returns at once and ran is false: the caller goes on. Call it
// before anything else, and exit when ran is true: one child of [Supported] is
// meant to end that way too.
//
// An error is of the kind [ErrUnsupported] if the sandbox was refused.
func Reexec(ctx context.Context, cfg SandboxConfig) (ran bool, exitCode int, err error) {
	switch state := os.Getenv(sandboxEnv); state {
	case sandboxEnter, sandboxProbe:
		if os.Getpid() != 1 {
			return true, 1, fmt.Errorf("%s is set, but this program is not the first of a sandbox: unset it", sandboxEnv)
		}
		if !enterSandbox() {
			return true, 125, nil
		}
		return state == sandboxProbe, 0, nil
	case sandboxMachine:
		return true, 1, runMachine()
	default:
		if Inside() {
			return false, 0, nil
		}
	}
	if cfg.Grace <= 0 {
		cfg.Grace = 10 * time.Second
	}
	exitCode, err = runSandbox(ctx, sandboxEnter, os.Args[1:], cfg.Grace)
	return true, exitCode, err
}

// Inside tells whether this program runs in a sandbox.
func Inside() bool {
	name, found := strings.CutPrefix(os.Getenv(sandboxEnv), sandboxInside)
	if !found {
		return false
	}
	own, err := os.Readlink("/proc/self/ns/pid")
	return err == nil && own == name
}

// Supported tells whether a sandbox can be had, by making one; nil inside one.
// The error is one line that names what is missing, of the kind
// [ErrUnsupported], or of another one where that could not be found out. The
// program must call [Reexec] (or [Main]) when it starts.
func Supported() error {
	if Inside() {
		return nil
	}
	if os.Getenv(sandboxEnv) == sandboxProbe {
		return errors.New("localcluster.Supported was called by a program that did not call Reexec first")
	}
	return trySandbox(time.Minute)
}

// errSlow tells that a trial was given up, which says nothing of what the kernel
// refuses.
var errSlow = errors.New("the trial of a sandbox took too long")

func trySandbox(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	code, err := runSandbox(ctx, sandboxProbe, nil, time.Second)
	if ctx.Err() != nil {
		return fmt.Errorf("%w: not within %s", errSlow, limit)
	}
	if err == nil && code != 0 {
		err = fmt.Errorf("%w: the trial ended with status %d", ErrUnsupported, code)
	}
	return err
}

// runSandbox starts the program in its sandbox and waits for it.
func runSandbox(ctx context.Context, state string, args []string, grace time.Duration) (int, error) {
	report, reportEnd, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer func() { _ = report.Close() }() // only read from

	// Our own program, by a name that works when its file was deleted, too.
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...) //nolint:gosec // with the arguments it was called with
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{reportEnd}
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, sandboxEnv+"=")
	}), sandboxEnv+"="+state)
	cmd.SysProcAttr = sandboxAttr()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = grace

	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	defer signal.Stop(signals)

	inner, err := startProcess(cmd, (*namespace)(nil))
	_ = reportEnd.Close() // the child has its own
	if err != nil {
		return 0, fmt.Errorf("%w: %s", ErrUnsupported, explainClone(err))
	}
	complaint, err := io.ReadAll(report) // ends when the sandbox is set up
	if err != nil || len(complaint) > 0 {
		inner.kill()
		return 0, errors.Join(fmt.Errorf("%w: %s", ErrUnsupported, complaint), err)
	}
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s) // an error means that it has ended
		case <-inner.done:
			return exitCode(inner)
		}
	}
}

// sandboxAttr asks for the namespaces. The program gets a process group of its
// own, so that a Ctrl-C in the terminal comes once, passed on by us.
func sandboxAttr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Setpgid:    true,
	}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	return attr
}

// exitCode is what a shell would say of a program that has ended.
func exitCode(p *process) (int, error) {
	err := p.wait()
	state := p.cmd.ProcessState
	if state == nil {
		return 0, err
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return state.ExitCode(), nil
}

// explainClone says why the kernel may have refused the namespaces.
func explainClone(err error) string {
	switch {
	case os.Geteuid() == 0:
		return fmt.Sprintf("new network, mount and process namespaces as root: %s (CAP_SYS_ADMIN is missing, as in a container without --privileged)", err)
	case setting("/proc/sys/user/max_user_namespaces") == "0":
		return "user namespaces are switched off (sysctl user.max_user_namespaces is 0)"
	case setting("/proc/sys/kernel/unprivileged_userns_clone") == "0":
		return "user namespaces are for root only (sysctl kernel.unprivileged_userns_clone is 0)"
	case setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
		return "AppArmor restricts user namespaces (sysctl kernel.apparmor_restrict_unprivileged_userns is 1)"
	}
	return fmt.Sprintf("new user, network, mount and process namespaces without root: %s", err)
}

func setting(path string) string {
	b, _ := os.ReadFile(path) // a kernel without the setting does not restrict
	return strings.TrimSpace(string(b))
}
