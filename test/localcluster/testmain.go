package localcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// requireEnv set to 1 makes tests fail, not skip, where no sandbox can be had.
const requireEnv = "PODID_REQUIRE_NETNS"

// Main is for the TestMain of a package whose tests use [Start]: it builds the
// control plane, while there still is a network to fetch modules from, and runs
// the tests in a sandbox. It returns the exit code:
//
//	func TestMain(m *testing.M) { os.Exit(localcluster.Main(m)) }
//
// Where no sandbox can be had, the tests run outside, and those that call
// [Require] are skipped.
func Main(m interface{ Run() int }) int {
	if os.Getenv(sandboxEnv) == "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		if _, err := Build(ctx, os.Stderr); err != nil {
			return complain(err)
		}
	}
	return NetworkMain(m)
}

// NetworkMain is [Main] for tests that need the sandbox, but no control plane.
func NetworkMain(m interface{ Run() int }) int {
	if ran, code, err := Reexec(context.Background(), SandboxConfig{}); err == nil && ran {
		return code
	} else if err != nil {
		complain(err) // and run: each test that calls Require skips or fails
	}
	return m.Run()
}

// WithControlPlanes is for the TestMain of a package whose tests share API servers:
// it starts n with the CRDs of a folder, runs what uses them, and stops them. It
// returns the exit code:
//
//	func TestMain(m *testing.M) {
//		os.Exit(localcluster.WithControlPlanes(1, "../../config/crd", func(planes []*localcluster.ControlPlane) int {
//			plane = planes[0]
//			return m.Run()
//		}))
//	}
func WithControlPlanes(n int, crds string, run func([]*ControlPlane) int) int {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "podid-test-")
	if err != nil {
		return complain(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var planes []*ControlPlane
	for i := range n {
		plane, err := StartControlPlane(ctx, ControlPlaneConfig{Dir: filepath.Join(dir, strconv.Itoa(i)), Progress: os.Stderr})
		if err != nil {
			return complain(err)
		}
		defer plane.Stop()
		if err := plane.InstallCRDs(ctx, crds); err != nil {
			return complain(err)
		}
		planes = append(planes, plane)
	}
	return run(planes)
}

// WithControlPlane is WithControlPlanes for tests that share one, which run finds in
// plane.
func WithControlPlane(plane **ControlPlane, crds string, run func() int) int {
	return WithControlPlanes(1, crds, func(planes []*ControlPlane) int {
		*plane = planes[0]
		return run()
	})
}

// testingT is the part of testing.TB that Require needs; the demo, which links
// this package, has no use for package testing.
type testingT interface {
	Helper()
	Skip(args ...any)
	Fatal(args ...any)
}

// Require skips the test outside of a sandbox, with the one line that tells why
// there is none, or fails it if PODID_REQUIRE_NETNS is 1.
func Require(t testingT) {
	t.Helper()
	if Inside() {
		return
	}
	err := Supported()
	if err == nil {
		t.Fatal("the test's package has no TestMain that calls localcluster.Main")
	}
	if os.Getenv(requireEnv) == "1" || !errors.Is(err, ErrUnsupported) {
		t.Fatal(err)
	}
	t.Skip(err)
}

func complain(err error) int {
	_, _ = fmt.Fprintln(os.Stderr, "localcluster:", err) // nowhere else to say it
	return 1
}
