package localcluster

import (
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

// MachinesSupported tells whether machines can run here, by trying; nil if so.
// The error is one line that names all that is missing.
func MachinesSupported() error {
	if !trueRoot() {
		return errors.New("it needs root, and not root of a user namespace")
	}
	var missing []string
	for _, try := range []func() error{tryPrograms, tryPlugins, Supported, tryOverlay, tryCgroups} {
		if err := try(); err != nil {
			missing = append(missing, err.Error())
		}
	}
	if len(missing) > 0 {
		return errors.New(strings.Join(missing, "; "))
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

// tryCgroups makes and removes a control group in every hierarchy.
func tryCgroups() error {
	c, err := findCgroups()
	if err != nil {
		return err
	}
	defer c.remove("try")
	return c.make("try")
}

// tryOverlay mounts an overlay in memory, as the machines want it, on a thread
// with mounts of its own, which ends with the goroutine.
func tryOverlay() error {
	dir, err := os.MkdirTemp("", "podid-overlay-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(dir) }()
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
