package localcluster

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// machineEnv tells the first process of a machine which folder is its own.
const machineEnv = "PODID_MACHINE_DIR"

// diskOf is the file system in a machine's folder that outlives its boots.
func diskOf(dir string) string { return filepath.Join(dir, "disk") }

// startMachine starts the first process of a machine and returns when the
// machine is furnished.
func startMachine(dir string, network *namespace) (*process, error) {
	report, reportEnd, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = report.Close() }()  // only read from
	cmd := exec.Command("/proc/self/exe")  //nolint:noctx // Off ends it
	cmd.Args[0] = "machine " + dir         // for who lists processes
	cmd.ExtraFiles = []*os.File{reportEnd} // number reportFile
	cmd.Env = []string{sandboxEnv + "=" + sandboxMachine, machineEnv + "=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID}
	first, err := startProcess(cmd, network)
	_ = reportEnd.Close() // the child has its own
	if err != nil {
		return nil, fmt.Errorf("start its first process: %w", err)
	}
	complaint, err := io.ReadAll(report) // ends when the machine is furnished
	if err == nil && len(complaint) > 0 {
		err = errors.New(string(complaint))
	}
	if err != nil {
		first.kill()
		return nil, err
	}
	return first, nil
}

// runMachine is the main of a machine's first process. It ends by being killed.
func runMachine() error {
	if os.Getpid() != 1 {
		return errors.New("this program is not the first of a machine")
	}
	report := os.NewFile(reportFile, "machine report")
	err := furnishMachine(os.Getenv(machineEnv))
	if err != nil {
		_, _ = fmt.Fprint(report, err) // nobody else to tell
	}
	_ = report.Close() // a pipe: nothing is buffered
	if err != nil {
		return err
	}
	reap()
	return nil
}

// reap waits for the children that other programs leave behind, for ever.
func reap() {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	for range children {
		for {
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != nil || pid <= 0 {
				break
			}
		}
	}
}

// furnishMachine gives the machine its file system. Mounts are shared among its
// own programs, as containers that look for mounts of the node want it.
func furnishMachine(dir string) error {
	for _, own := range []string{"/etc", "/var", "/run"} {
		if strings.HasPrefix(dir+"/", own+"/") {
			return fmt.Errorf("the machine's folder %s is below %s, which it hides", dir, own)
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts private: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts on the machine: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	if err := shieldKernel(); err != nil {
		return err
	}
	for _, folder := range []string{"/etc", "/var"} {
		if err := mountOverlay(folder, filepath.Join(diskOf(dir), folder)); err != nil {
			return err
		}
	}
	return nil
}

// mountOverlay lets changes below a folder go to another one, upper.
func mountOverlay(folder, upper string) error {
	work := upper + ".work"
	for _, d := range []string{upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil { //nolint:gosec // as /etc and /var are
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", folder, upper, work)
	if err := unix.Mount("overlay", folder, "overlay", 0, options); err != nil {
		return fmt.Errorf("mount an overlay at %s: %w (the kernel needs CONFIG_OVERLAY_FS)", folder, err)
	}
	return nil
}
