package localcluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// module is the module whose clone holds the sources of the control plane.
const module = "github.com/podid-io/podid"

// buildFlags make the binary small, and tell it which version it is: without
// them the server does not say v1.37.1. Other flags compile everything anew.
func buildFlags() []string {
	const version = "k8s.io/component-base/version."
	return []string{
		"-trimpath", "-ldflags",
		"-s -w -X " + version + "gitVersion=v1.37.1 -X " + version + "gitMajor=1 -X " + version + "gitMinor=37",
	}
}

// source is a program that is made from test/controlplane of the clone.
type source struct {
	name   string // of the binary
	folder string // below test/controlplane
	what   string // for a person
}

func controlPlaneSource() source {
	return source{name: "controlplane", folder: ".", what: "the control plane"}
}

func nodeSource() source {
	return source{name: "node", folder: "node", what: "kubelet, scheduler and controller manager"}
}

func kubectlSource() source {
	return source{name: "kubectl", folder: "kubectl", what: "kubectl"}
}

// Build compiles the control plane, etcd and kube-apiserver in one binary, from
// test/controlplane of the clone that the working directory is in, and returns
// the binary's path. The binary is kept in $PODID_CACHE, or podid in the user's
// cache directory, under a name that tells what it was made from, and is not
// made again while that stays the same. Programs that want it at the same time
// wait for the one that builds it.
//
// What is going on is told on progress (nil: nowhere), a line at a time; nothing
// when there is nothing to do. The first build takes minutes and needs the
// module proxy, so it must not be left to a program inside a sandbox.
func Build(ctx context.Context, progress io.Writer) (path string, err error) {
	return controlPlaneSource().build(ctx, progress)
}

// BuildNode compiles kube-controller-manager, kube-scheduler and kubelet in one
// binary, as [Build] does with the control plane.
func BuildNode(ctx context.Context, progress io.Writer) (path string, err error) {
	return nodeSource().build(ctx, progress)
}

// BuildKubectl compiles kubectl, as [Build] does with the control plane.
func BuildKubectl(ctx context.Context, progress io.Writer) (path string, err error) {
	return kubectlSource().build(ctx, progress)
}

func (s source) build(ctx context.Context, progress io.Writer) (path string, err error) {
	if progress == nil {
		progress = io.Discard
	}
	dir, err := moduleFolder()
	if err != nil {
		return "", err
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	key, err := s.key(ctx, dir)
	if err != nil {
		return "", err
	}
	path = filepath.Join(cache, s.name+"-"+key)
	if exists(path) {
		return path, nil
	}
	unlock, err := lockFile(ctx, path+".lock", func() {
		_, _ = fmt.Fprintf(progress, "waiting for another program, which compiles %s\n", s.what) // nobody to tell otherwise
	})
	if err != nil {
		return "", fmt.Errorf("wait for another build of %s: %w", s.what, err)
	}
	defer unlock()
	if exists(path) {
		return path, nil
	}
	if err := s.compile(ctx, dir, path, progress); err != nil {
		return "", fmt.Errorf("build %s: %w", s.what, err)
	}
	return path, nil
}

// compile builds to a name of its own first: the final name only ever belongs
// to a whole binary.
func (s source) compile(ctx context.Context, dir, path string, progress io.Writer) error {
	temporary := path + ".new" // the lock makes it ours
	defer func() { _ = os.Remove(temporary) }()
	args := append([]string{"build", "-v", "-o", temporary}, buildFlags()...)
	cmd := goCommand(ctx, dir, append(args, "./"+s.folder)...)
	counter := newBuildCounter(progress, s.what)
	cmd.Stderr = counter
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // so that it removes its work files
	cmd.WaitDelay = 10 * time.Second
	p, err := startProcess(cmd, (*namespace)(nil))
	if err != nil {
		return err
	}
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for running := true; running; {
		select {
		case <-tick.C:
			counter.report()
		case <-p.done:
			running = false
		}
	}
	if err := errors.Join(p.wait(), ctx.Err()); err != nil {
		return fmt.Errorf("%w\n%s", err, counter.tail())
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	counter.finish()
	return nil
}

// key is a digest of everything that the binary is made from.
func (s source) key(ctx context.Context, dir string) (string, error) {
	toolchain, err := goCommand(ctx, dir, "env", "GOVERSION", "GOOS", "GOARCH").Output()
	if err != nil {
		return "", fmt.Errorf("ask the go command for its version: %w", err)
	}
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%s\x00%q\x00", toolchain, buildFlags()) // a hash takes everything
	for _, name := range []string{filepath.Join(s.folder, "main.go"), "go.mod", "go.sum"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "", fmt.Errorf("read the sources of %s: %w", s.what, err)
		}
		_, _ = fmt.Fprintf(h, "%s\x00%d\x00%s", name, len(b), b)
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

func goCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	return cmd
}

// moduleFolder walks up from the working directory to the clone's root.
func moduleFolder() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		b, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(b), "module "+module+"\n") {
			return filepath.Join(dir, "test", "controlplane"), nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not in a clone of %s, which holds the sources of the control plane", start, module)
		}
	}
}

func cacheDir() (string, error) {
	dir := os.Getenv("PODID_CACHE")
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find a cache directory: %w; set PODID_CACHE", err)
		}
		dir = filepath.Join(base, "podid")
	}
	if err := os.MkdirAll(dir, 0o750); err != nil { //nolint:gosec // the user says where
		return "", fmt.Errorf("make the cache directory: %w; set PODID_CACHE to another one", err)
	}
	return dir, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// lockFile takes an exclusive lock, which the kernel gives back if we die. It
// asks again on a ticker because a blocked flock cannot be called off.
func lockFile(ctx context.Context, path string, waiting func()) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for tries := 0; ; tries++ {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			_ = file.Close()
			return nil, err
		}
		if tries%50 == 1 {
			waiting()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			_ = file.Close()
			return nil, ctx.Err()
		}
	}
}
