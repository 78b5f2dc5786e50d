package localcluster_test

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/podid-io/podid/test/localcluster"
)

// The tests run in a sandbox themselves; what is outside for a helper is that
// sandbox.

func TestReexecRunsTheProgramElsewhereAndReturnsItsExitCode(t *testing.T) {
	localcluster.Require(t)
	tests := map[string]*syscall.SysProcAttr{
		"as root":      nil,
		"without root": {Credential: &syscall.Credential{Uid: 65534, Gid: 65534}},
	}
	for name, attr := range tests {
		t.Run(name, func(t *testing.T) {
			if attr != nil {
				requireUsers(t)
			}
			before := linkNames(t, here)
			cmd, output := startHelper(t, attr, "describe")
			said, err := io.ReadAll(output)
			if err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // the exit code says it
			if diff := cmp.Diff("uid 0 pid 1 forward 1 lo true\n", string(said)); diff != "" {
				t.Errorf("the helper's own words (-want +got):\n%s", diff)
			}
			if got := cmd.ProcessState.ExitCode(); got != 7 {
				t.Errorf("exit code %d, want 7", got)
			}
			if diff := cmp.Diff(before, linkNames(t, here)); diff != "" {
				t.Errorf("links outside (-before +after):\n%s", diff)
			}
		})
	}
}

// requireUsers skips the test in a sandbox that was made without root, where
// there is one user only.
func requireUsers(t *testing.T) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		t.Fatal(err)
	}
	if fields := strings.Fields(string(b)); len(fields) == 3 && fields[2] == "1" {
		t.Skip("these tests run without root already")
	}
}

func TestSignalsArePassedOn(t *testing.T) {
	localcluster.Require(t)
	cmd, output := startHelper(t, nil, "linger")
	if line, err := output.ReadString('\n'); line != "ready\n" {
		t.Fatalf("the helper said %q: %v", line, err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the exit code says it
	if got := cmd.ProcessState.ExitCode(); got != 9 {
		t.Errorf("exit code %d, want 9", got)
	}
	if _, err := io.ReadAll(output); err != nil {
		t.Errorf("something of the sandbox is left: %v", err)
	}
}

func TestNothingOutlivesAKilledParent(t *testing.T) {
	localcluster.Require(t)
	cmd, output := startHelper(t, nil, "linger")
	if line, err := output.ReadString('\n'); line != "ready\n" {
		t.Fatalf("the helper said %q: %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if _, err := io.ReadAll(output); err != nil {
		t.Errorf("something of the sandbox is left: %v", err)
	}
}

func TestAControlPlaneDoesNotOutliveItsKilledParent(t *testing.T) {
	cmd, output := startHelper(t, nil, "controlplane", t.TempDir())
	if line, err := output.ReadString('\n'); line != "ready\n" {
		t.Fatalf("the helper said %q: %v", line, err)
	}
	programs := children(t, cmd.Process.Pid)
	if len(programs) != 2 {
		t.Fatalf("the helper has children %v, want two", programs)
	}
	var handles []int
	for _, id := range programs {
		handle, err := unix.PidfdOpen(id, 0)
		if err != nil {
			t.Fatal(err)
		}
		handles = append(handles, handle)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	for _, handle := range handles {
		awaitEnd(t, handle)
	}
}

func TestSupportedHereMeansInside(t *testing.T) {
	localcluster.Require(t)
	if err := localcluster.Supported(); err != nil || !localcluster.Inside() {
		t.Errorf("supported: %v, inside: %t", err, localcluster.Inside())
	}
}

// A computer that is busy is not one whose kernel refuses: tests that ask must not
// pass by not running.
func TestASlowTrialIsNoRefusal(t *testing.T) {
	t.Setenv("PODID_SANDBOX", "")
	if err := localcluster.TrySandbox(time.Nanosecond); err == nil || errors.Is(err, localcluster.ErrUnsupported) {
		t.Errorf("got %v, want an error that is not ErrUnsupported", err)
	}
}

func TestOutsideOfASandbox(t *testing.T) {
	t.Setenv("PODID_SANDBOX", "")
	if localcluster.Inside() {
		t.Fatal("inside without a sandbox")
	}
	if _, err := localcluster.Start(t.Context(), localcluster.Config{Dir: t.TempDir()}); err == nil {
		t.Error("a cluster started outside of a sandbox")
	}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	if err := localcluster.Supported(); err != nil && !errors.Is(err, localcluster.ErrUnsupported) {
		t.Errorf("got %v, want nil or ErrUnsupported", err)
	}
	after, err := net.Interfaces()
	if diff := cmp.Diff(links, after); err != nil || diff != "" {
		t.Errorf("links after the trial (-before +after): %v\n%s", err, diff)
	}
}
