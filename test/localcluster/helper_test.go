package localcluster_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podid-io/podid/test/localcluster"
)

// helperEnv makes the test binary a program that a test runs: its value is the
// name of one of the helpers, and words for it.
const helperEnv = "PODID_TEST_HELPER"

// helper is the main of such a program; ok is false when it is a test.
func helper() (code int, ok bool) {
	words := strings.Fields(os.Getenv(helperEnv))
	if len(words) == 0 {
		return 0, false
	}
	if words[0] == "controlplane" {
		return controlPlaneHelper(words[1]), true
	}
	ran, code, err := localcluster.Reexec(context.Background(), localcluster.SandboxConfig{})
	if err != nil {
		fmt.Fprintln(os.Stdout, err)
		return 1, true
	}
	if ran {
		return code, true
	}
	switch words[0] {
	case "describe":
		return describeHelper(), true
	case "linger":
		return lingerHelper(), true
	case "exec":
		return execHelper(words[1]), true
	}
	return 1, true
}

// describeHelper tells where it is.
func describeHelper() int {
	links, err := filepath.Glob("/proc/self/net/dev_snmp6/*")
	if err != nil {
		return 1
	}
	forward, _ := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	fmt.Fprintf(os.Stdout, "uid %d pid %d forward %s lo %t\n", os.Getuid(), os.Getpid(), strings.TrimSpace(string(forward)), links != nil)
	return 7
}

// lingerHelper leaves a program behind that knows nothing of its parent, and
// stays until it is told to stop.
func lingerHelper() int {
	child := exec.Command("sleep", "600")
	child.Stdout = os.Stdout
	if err := child.Start(); err != nil {
		return 1
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	fmt.Fprintln(os.Stdout, "ready")
	<-stop
	return 9
}

func execHelper(socket string) int {
	code, err := localcluster.Exec(context.Background(), socket, "default/a",
		[]string{"sh", "-c", "cat /proc/net/fib_trie; exit 5"}, os.Stdin, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stdout, err)
		return 1
	}
	return code
}

// controlPlaneHelper starts a control plane and waits to be killed.
func controlPlaneHelper(dir string) int {
	_, err := localcluster.StartControlPlane(context.Background(), localcluster.ControlPlaneConfig{Dir: dir})
	if err != nil {
		fmt.Fprintln(os.Stdout, err)
		return 1
	}
	fmt.Fprintln(os.Stdout, "ready")
	select {}
}

// startHelper starts a helper, outside of our sandbox as far as it knows, and
// returns it with its output, which ends when nothing that it started is left.
func startHelper(t *testing.T, attr *syscall.SysProcAttr, words ...string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := read.SetReadDeadline(time.Now().Add(10 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "PODID_SANDBOX=")
	}), helperEnv+"="+strings.Join(words, " "))
	cmd.Stdout, cmd.Stderr = write, write
	cmd.SysProcAttr = attr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	t.Cleanup(func() { _ = read.Close() })
	return cmd, bufio.NewReader(read)
}

// children returns the ids of a process's children that have not ended.
func children(t *testing.T, pid int) []int {
	t.Helper()
	files, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	var ids []int
	for _, file := range files {
		b, _ := os.ReadFile(file) // a thread may have ended
		for word := range strings.FieldsSeq(string(b)) {
			id, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			if stat, err := os.ReadFile("/proc/" + word + "/stat"); err == nil && !strings.Contains(string(stat), ") Z ") {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// awaitEnd waits until a process that need not be our child has ended.
func awaitEnd(t *testing.T, pidfd int) {
	t.Helper()
	defer func() { _ = unix.Close(pidfd) }()
	for deadline := time.Now().Add(time.Minute); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 1000)
		switch {
		case n == 1:
			return
		case err != nil && !errors.Is(err, unix.EINTR): // Go's own signals interrupt
			t.Fatalf("wait for a process: %v", err)
		case time.Now().After(deadline):
			t.Fatal("a process still runs after a minute")
		}
	}
}
