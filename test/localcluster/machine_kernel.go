package localcluster

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// tunables are what a kubelet wants of the kernel, below /proc/sys. No namespace
// holds them: a kubelet that writes them changes the whole computer.
func tunables() map[string]string {
	return map[string]string{
		"vm/overcommit_memory":      "1",
		"vm/panic_on_oom":           "0",
		"kernel/panic":              "10",
		"kernel/panic_on_oops":      "1",
		"kernel/keys/root_maxkeys":  "1000000",
		"kernel/keys/root_maxbytes": "25000000",
	}
}

// shieldKernel puts a file with the wanted value over each, in this machine
// alone. Its kubelet finds all as it should be, and nobody can write there.
func shieldKernel() error {
	for name, value := range tunables() {
		file := filepath.Join("/run/kernel", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // as /proc/sys is
			return err
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o444); err != nil { //nolint:gosec // as those are
			return err
		}
		at := filepath.Join("/proc/sys", name)
		if err := unix.Mount(file, at, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("put a file over %s: %w", at, err)
		}
		if err := unix.Mount("", at, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("make %s read-only: %w", at, err)
		}
	}
	return nil
}
