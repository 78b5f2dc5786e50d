package localcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// runNodeEnv set to 1 lets the tests run that use machines.
	runNodeEnv = "PODID_NODE"
	// requireNodeEnv set to 1 makes [MachineMain] fail where no machine can run.
	requireNodeEnv = "PODID_REQUIRE_NODE"
)

// MachineMain is [Main] for the tests that use [StartFull]. It has what they need
// compiled, by prepare as well (nil: nothing more), while there still is a
// network to fetch modules from. One such package runs at a time on a computer,
// and what one that was killed has left, control groups without processes and the
// folder of all that tests write, is removed before and after.
//
// The tests run with PODID_NODE=1 only, as `make e2e` sets it: what they need
// takes minutes to compile. Where no machine can run, it says in one line what is
// missing and returns 0, or 1 if PODID_REQUIRE_NODE is 1; the tests do not run.
func MachineMain(m interface{ Run() int }, prepare func(context.Context) error) int {
	if Inside() || os.Getenv(sandboxEnv) != "" {
		return NetworkMain(m)
	}
	if os.Getenv(runNodeEnv) != "1" {
		complain(errors.New("no test ran: those on a node with containers are for `make e2e`, or PODID_NODE=1"))
		return 0
	}
	if err := MachinesSupported(); err != nil {
		complain(fmt.Errorf("no test ran: %w", err))
		if os.Getenv(requireNodeEnv) == "1" || !errors.Is(err, errNoMachines) {
			return 1
		}
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	unlock, err := prepareMachines(ctx, prepare)
	stop()
	if err != nil {
		return complain(err)
	}
	defer unlock()
	// All that tests write goes to one folder, always the same, so that the next run
	// finds what one that was killed has left: keys, images and disks. It is not in
	// the cache, since kubelet's sockets below it may have 107 characters.
	dir := filepath.Join(os.TempDir(), "podid-machines")
	if err := sweep(dir); err != nil {
		return complain(err)
	}
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Setenv("TMPDIR", dir)); err != nil {
		return complain(err)
	}
	code := NetworkMain(m)
	if err := sweep(dir); err != nil {
		return complain(err)
	}
	return code
}

// prepareMachines compiles what tests with machines need, waits until no others run
// any, and has prepare do the rest.
func prepareMachines(ctx context.Context, prepare func(context.Context) error) (unlock func(), err error) {
	for _, program := range []source{controlPlaneSource(), nodeSource()} {
		if _, err := program.build(ctx, os.Stderr); err != nil {
			return nil, err
		}
	}
	unlock, err = lockMachines(ctx, func() {
		complain(errors.New("waiting for other tests, which run machines"))
	})
	if err != nil || prepare == nil {
		return unlock, err
	}
	if err := prepare(ctx); err != nil { // under the lock: what it writes is not for two
		unlock()
		return nil, err
	}
	return unlock, nil
}

// lockMachines takes the lock that who runs machines has.
func lockMachines(ctx context.Context, waiting func()) (unlock func(), err error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	return lockFile(ctx, filepath.Join(cache, "machines.lock"), waiting)
}

// sweep removes the control groups and then the folder of machines that are gone.
// None that runs has any, by the lock. What was killed takes a moment to end, of
// which nobody tells, hence the ticker.
func sweep(dir string) error {
	c, err := findCgroups()
	if err != nil {
		return err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(time.Minute)
	for {
		c.remove("")
		var err error
		if left := c.left(); left != "" {
			err = fmt.Errorf("the control group %s is left, with processes in it", left)
		} else if err = os.RemoveAll(dir); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-limit:
			return err
		}
	}
}
