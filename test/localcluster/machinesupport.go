package localcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// errNoMachines is the kind of error that tells that machines cannot run here. Any
// other one tells that it could not be found out.
var errNoMachines = errors.New("no node with containers can run here")

// MachinesSupported tells whether machines can run here, by trying; nil if so.
// The error is one line that names all that is missing.
func MachinesSupported() error {
	if !trueRoot() {
		return fmt.Errorf("%w: it needs root, and not root of a user namespace", errNoMachines)
	}
	var missing []string
	for _, try := range []func() error{tryPrograms, tryPlugins, Supported, tryOverlay, tryCgroups} {
		err := try()
		if errors.Is(err, errSlow) {
			return err
		}
		if err != nil {
			missing = append(missing, err.Error())
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: %s", errNoMachines, strings.Join(missing, "; "))
	}
	return nil
}

// trueRoot tells whether this program is root, of all users that there are.
func trueRoot() bool {
	users, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && os.Geteuid() == 0 && slices.Equal(strings.Fields(string(users)), []string{"0", "0", "4294967295"})
}

func tryPrograms() error {
	var missing []string
	for _, program := range []string{"containerd", "containerd-shim-runc-v2", "ctr", "runc"} {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("no program %s (Debian: containerd, runc)", strings.Join(missing, ", "))
	}
	return nil
}

func tryPlugins() error {
	_, err := findPlugins()
	return err
}

// tryCgroups makes and removes a control group in every hierarchy. Where others
// run machines at the moment it does not: they can, and it would be in their way.
func tryCgroups() error {
	c, err := findCgroups()
	if err != nil {
		return err
	}
	once, cancel := context.WithCancel(context.Background())
	cancel() // no waiting for the lock
	unlock, err := lockMachines(once, func() {})
	if errors.Is(err, context.Canceled) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	defer c.remove("try")
	return c.make("try")
}

// tryOverlay mounts an overlay in memory, as the machines want it, on a thread
// with mounts of its own, which ends with the goroutine. They are over a folder
// that is there, so that nothing is left of a trial that is killed.
func tryOverlay() error {
	dir := os.TempDir()
	return apart(func() error {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("a mount namespace cannot be had: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("mounts cannot be made private: %w", err)
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("a file system in memory cannot be mounted: %w", err)
		}
		return mountOverlay("/etc", filepath.Join(dir, "etc"))
	})
}
