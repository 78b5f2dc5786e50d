package node_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// computer is what kubelet and kube-controller-manager write elsewhere, and no
// namespace holds: settings of the kernel and a folder.
type computer struct {
	Settings map[string]string
	Plugins  []string
}

// settings are those that a kubelet wants to have a certain value.
func settings() []string {
	return []string{
		"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
		"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
	}
}

// keepsUntouched compares the computer before the test and after it.
func keepsUntouched(t *testing.T) {
	t.Helper()
	before := lookAtComputer(t)
	t.Cleanup(func() {
		if diff := cmp.Diff(before, lookAtComputer(t)); diff != "" {
			t.Errorf("the test has changed the computer (-before +after):\n%s", diff)
		}
	})
}

func lookAtComputer(t *testing.T) computer {
	t.Helper()
	c := computer{Settings: map[string]string{}}
	for _, name := range settings() {
		b, err := os.ReadFile(filepath.Join("/proc/sys", name))
		if err != nil {
			t.Fatal(err)
		}
		c.Settings[name] = string(b)
	}
	_ = filepath.WalkDir("/usr/libexec/kubernetes", func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			c.Plugins = append(c.Plugins, path)
		}
		return nil // none, then
	})
	return c
}

// untouched checks that a kubelet could not write those settings if it wanted to:
// where they have the right value already, that shows nowhere else.
func untouched(t *testing.T, w *world) {
	t.Helper()
	for _, m := range w.full.Machines() {
		cat, err := m.Command(t.Context(), "cat", "/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		mounts, err := cat.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, mounts)
		}
		for _, name := range settings() {
			if !strings.Contains(string(mounts), " /proc/sys/"+name+" ro,") {
				t.Errorf("%s can write /proc/sys/%s of the computer", m.Name, name)
			}
		}
	}
}
