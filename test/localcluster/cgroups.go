package localcluster

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// cgroupFolder is the name of the folder of every hierarchy of control groups
// that machines use, and that nothing else is in. A sandbox's namespaces end
// with it; this folder does not, so it is removed when machines are switched
// off, and once more before the next ones start (see [MachineMain]).
const cgroupFolder = "podid-machines"

// cgroups are the hierarchies: one of version 2, or one for each controller.
type cgroups struct {
	roots   []string // where they are mounted
	unified bool     // one hierarchy of version 2 has all controllers
	enabled []string // controllers that machines have; version 2 alone
	// note is a file that names the controllers that were switched on at the root
	// for the machines, and are switched off after the last one; version 2 alone.
	note string
}

// controllers are those that a kubelet does not start without.
func controllers() []string { return []string{"cpu", "cpuset", "memory", "pids"} }

// alsoController is one that a kubelet wants wherever the root has it, with
// version 2.
const alsoController = "hugetlb"

// findCgroups reads where control groups are mounted, and checks that the
// controllers are there.
func findCgroups() (*cgroups, error) {
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer func() { _ = mounts.Close() }() // only read from
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	c := &cgroups{note: filepath.Join(cache, "machines.controllers")}
	found := map[string]bool{}
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if len(left) < 5 || len(right) < 3 || !strings.HasPrefix(right[0], "cgroup") {
			continue
		}
		at := left[4]
		c.roots = append(c.roots, at)
		if right[0] == "cgroup2" && at == "/sys/fs/cgroup" {
			c.unified = true
			b, _ := os.ReadFile(filepath.Join(at, "cgroup.controllers")) // none, then
			right[2] = strings.ReplaceAll(strings.TrimSpace(string(b)), " ", ",")
		}
		for name := range strings.SplitSeq(right[2], ",") {
			found[name] = true
		}
	}
	var missing []string
	for _, name := range controllers() {
		if !found[name] {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("control groups without %s are mounted below /sys/fs/cgroup", strings.Join(missing, ", "))
	}
	c.enabled = controllers()
	if found[alsoController] {
		c.enabled = append(c.enabled, alsoController)
	}
	return c, nil
}

// path is the folder of a machine, as a kubelet wants it.
func (c *cgroups) path(machine string) string { return filepath.Join("/", cgroupFolder, machine) }

// make makes the folder of a machine in each hierarchy.
func (c *cgroups) make(machine string) error {
	for _, root := range c.roots {
		folder := root
		for _, name := range []string{cgroupFolder, machine} {
			parent := folder
			folder = filepath.Join(parent, name)
			if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // as all are
				return fmt.Errorf("make a control group: %w", err)
			}
			if err := c.enable(parent, folder); err != nil {
				return err
			}
		}
	}
	return nil
}

// enable makes the controllers of parent work in folder, too.
func (c *cgroups) enable(parent, folder string) error {
	if c.unified {
		return c.enableUnified(parent)
	}
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} { // version 1 starts with none
		b, err := os.ReadFile(filepath.Join(parent, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, name), b, 0o600) //nolint:gosec // a folder that we made, below a mount of the kernel's
		}
		if err != nil {
			return fmt.Errorf("give a control group its processors: %w", err)
		}
	}
	return nil
}

// enableUnified switches controllers on below parent, and notes those at the root
// that were off.
func (c *cgroups) enableUnified(parent string) error {
	file := filepath.Join(parent, subtreeControl)
	if slices.Contains(c.roots, parent) {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		noted, _ := os.ReadFile(c.note) // none, then
		off := strings.Fields(string(noted))
		for _, name := range c.enabled {
			if !slices.Contains(strings.Fields(string(b)), name) {
				off = append(off, name)
			}
		}
		if err := os.WriteFile(c.note, []byte(strings.Join(off, " ")), 0o600); err != nil { //nolint:gosec // in the cache, which the user says where
			return err
		}
	}
	want := "+" + strings.Join(c.enabled, " +")
	if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
		return fmt.Errorf("enable controllers of control groups: %w", err)
	}
	return nil
}

// subtreeControl is the file of a control group that switches controllers on for
// those below it.
const subtreeControl = "cgroup.subtree_control"

// giveBack switches off at the root what was noted. A controller that somebody
// else uses by now stays on.
func (c *cgroups) giveBack(root string) {
	noted, err := os.ReadFile(c.note)
	if err != nil {
		return // nothing was switched on
	}
	for name := range strings.FieldsSeq(string(noted)) {
		_ = os.WriteFile(filepath.Join(root, subtreeControl), []byte("-"+name), 0o600) // in use, then
	}
	_ = os.Remove(c.note) // what is left is switched off once more
}

// remove removes what a machine's programs have left; an empty name means those
// of all machines. What still has processes in it stays.
func (c *cgroups) remove(machine string) {
	for _, root := range c.roots {
		var folders []string
		_ = filepath.WalkDir(filepath.Join(root, cgroupFolder, machine), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				folders = append(folders, path)
			}
			return nil // what is gone need not be removed
		})
		for _, folder := range slices.Backward(folders) { // the inner ones first
			_ = os.Remove(folder)
		}
		all := filepath.Join(root, cgroupFolder)
		_ = os.Remove(all) // when it was the last one
		if c.unified && !exists(all) {
			c.giveBack(root)
		}
	}
}

// left is a folder of machines that could not be removed; empty if there is none.
func (c *cgroups) left() string {
	for _, root := range c.roots {
		if folder := filepath.Join(root, cgroupFolder); exists(folder) {
			return folder
		}
	}
	return ""
}
