package localcluster_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/podid-io/podid/test/localcluster"
)

// What is switched on at the root of the computer's control groups goes off again
// with the last machine, also when the process that switched it on was killed.
func TestControllersAreGivenBack(t *testing.T) {
	tests := map[string]struct {
		on         string // at the root, before
		want, back string // what is written to the root's file
	}{
		"that were off":           {on: "cpu cpuset memory pids", want: "+cpu +cpuset +memory +pids +hugetlb", back: "-hugetlb"},
		"and nothing that was on": {on: "cpu cpuset memory pids hugetlb io", want: "+cpu +cpuset +memory +pids +hugetlb"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			control := filepath.Join(dir, "root", "cgroup.subtree_control")
			machines := filepath.Join(dir, "root", "podid-machines")
			write(t, control, tt.on)
			c := localcluster.NewCgroups(dir, "cpu", "cpuset", "memory", "pids", "hugetlb")
			if err := os.MkdirAll(filepath.Join(machines, "a"), 0o755); err != nil { // the kernel makes files in new folders
				t.Fatal(err)
			}
			write(t, filepath.Join(machines, "cgroup.subtree_control"), "")
			if err := c.Make("a"); err != nil {
				t.Fatal(err)
			}
			for _, file := range []string{control, filepath.Join(machines, "cgroup.subtree_control")} {
				if got := read(t, file); got != tt.want {
					t.Errorf("%s has %q, want %q", file, got, tt.want)
				}
			}
			write(t, control, tt.on+" hugetlb") // what the kernel would tell
			if err := c.Make("a"); err != nil { // as at each boot
				t.Fatal(err)
			}
			c.Remove() // the folder has a file, which stands for processes
			if got := read(t, control); strings.HasPrefix(got, "-") {
				t.Errorf("%q was switched off under a machine", got)
			}
			if err := os.Remove(filepath.Join(machines, "cgroup.subtree_control")); err != nil {
				t.Fatal(err)
			}
			write(t, control, "")
			localcluster.NewCgroups(dir).Remove() // another process does
			if got := read(t, control); got != tt.back {
				t.Errorf("at the end, %q is written, want %q", got, tt.back)
			}
			write(t, control, "")
			localcluster.NewCgroups(dir).Remove()
			if got := read(t, control); got != "" {
				t.Errorf("%q is written once more", got)
			}
		})
	}
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
