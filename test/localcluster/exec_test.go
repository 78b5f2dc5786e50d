package localcluster_test

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/podid-io/podid/test/localcluster"
)

func TestExecRunsCommandsInPods(t *testing.T) {
	ctx, c, api := startCluster(t)
	p := run(ctx, t, c, api, pod("default", "a"))
	socket := filepath.Join(t.TempDir(), "exec.sock")
	if err := c.ServeExec(ctx, socket); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v, want mode 0600", info, err)
	}

	t.Run("with its files and exit code", func(t *testing.T) {
		said, code, err := execOutput(ctx, t, socket, "default/a", "sh", "-c", "pwd; cat /proc/net/fib_trie; exit 7")
		dir, _ := os.Getwd()
		if err != nil || code != 7 || !strings.HasPrefix(said, dir+"\n") || !strings.Contains(said, p.Addr.String()) {
			t.Errorf("got code %d, error %v, output\n%s\nwant code 7, %s and %s", code, err, said, dir, p.Addr)
		}
	})
	t.Run("for a caller in other namespaces", func(t *testing.T) {
		cmd, output := startHelper(t, nil, "exec", socket)
		said, err := io.ReadAll(output)
		_ = cmd.Wait() // the exit code says it
		if err != nil || cmd.ProcessState.ExitCode() != 5 || !strings.Contains(string(said), p.Addr.String()) {
			t.Errorf("got code %d, error %v, output\n%s\nwant code 5 and %s", cmd.ProcessState.ExitCode(), err, said, p.Addr)
		}
	})
	t.Run("a signal's number and 128", func(t *testing.T) {
		if _, code, err := execOutput(ctx, t, socket, "default/a", "sh", "-c", "kill -9 $$"); code != 137 || err != nil {
			t.Errorf("got %d, %v, want 137", code, err)
		}
	})
	t.Run("a command that is not there", func(t *testing.T) {
		if _, _, err := execOutput(ctx, t, socket, "default/a", "/no/such/command"); err == nil {
			t.Error("no error")
		}
	})
	t.Run("a pod that is not there", func(t *testing.T) {
		if _, _, err := execOutput(ctx, t, socket, "default/none", "true"); err == nil || !strings.Contains(err.Error(), "there is no pod default/none") {
			t.Errorf("got %v, want an error that says so", err)
		}
	})
	t.Run("a target that is none", func(t *testing.T) {
		if _, _, err := execOutput(ctx, t, socket, "a", "true"); err == nil || !strings.Contains(err.Error(), "NAMESPACE/POD") {
			t.Errorf("got %v, want an error that says what to write", err)
		}
	})
	t.Run("a caller that goes takes its command with it", func(t *testing.T) { callerGoes(ctx, t, socket) })

	c.Stop()
	if _, _, err := execOutput(ctx, t, socket, "default/a", "true"); err == nil {
		t.Error("a command ran after the cluster was stopped")
	}
}

func callerGoes(ctx context.Context, t *testing.T, socket string) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := localcluster.Exec(ctx, socket, "default/a", []string{"sh", "-c", "echo started; exec sleep 600"}, read, write, write)
		_ = write.Close()
		ended <- err
	}()
	output := bufio.NewReader(read)
	if line, err := output.ReadString('\n'); line != "started\n" {
		t.Fatalf("the command said %q: %v", line, err)
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("the call ended well")
	}
	_ = read.SetReadDeadline(time.Now().Add(time.Minute)) // a pipe takes it
	if _, err := io.ReadAll(output); err != nil {
		t.Errorf("the command still has its output open: %v", err)
	}
}

// execOutput runs a command in a pod and returns what it wrote.
func execOutput(ctx context.Context, t *testing.T, socket, target string, argv ...string) (string, int, error) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	code, err := localcluster.Exec(ctx, socket, target, argv, os.Stdin, file, file)
	said, readErr := os.ReadFile(file.Name())
	if readErr != nil {
		t.Fatal(readErr)
	}
	return string(said), code, err
}
