package localcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// FullConfig describes a cluster on which containers run.
type FullConfig struct {
	// Dir is for the control plane and the machines; logs are left there.
	Dir string
	// Machines are the nodes that are there from the start; see Full.AddMachine.
	Machines []MachineConfig
	// Images are files that `ctr images import` takes; every machine gets them.
	// One of them must be named [PauseImage].
	Images []string
	// Files go to every machine's disk: contents by path, which must be below
	// /etc or /var.
	Files map[string][]byte
	// ControlPlane and Node are the binaries. Empty means those of [Build] and
	// [BuildNode].
	ControlPlane, Node string
	// Progress is told, a line at a time, what StartFull is doing. Nil means
	// nobody is.
	Progress io.Writer
}

// Full is a cluster with all of Kubernetes's own programs: what is applied
// becomes containers, as on any cluster. There is no name service, and of all
// services only that of the API server is reachable.
type Full struct {
	*ControlPlane

	config     FullConfig
	fabric     *fabric
	nodeBinary string
	plugins    string // folder of the CNI plugins
	cgroups    *cgroups
	end        sync.Once

	mu       sync.Mutex // guards machines
	machines []*Machine
}

// StartFull starts such a cluster inside a sandbox (see [MachineMain]), one at a
// time. The API server listens on the address of its service. When it returns,
// every machine's kubelet was started; on an error nothing is left running.
func StartFull(ctx context.Context, cfg FullConfig) (*Full, error) {
	if !Inside() {
		return nil, errors.New("start a full cluster: this program is not in a sandbox (see localcluster.MachineMain)")
	}
	if cfg.Progress == nil {
		cfg.Progress = io.Discard
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	cfg.Dir = dir
	f := &Full{config: cfg, nodeBinary: cfg.Node}
	if err := f.start(ctx, cfg); err != nil {
		f.Stop()
		return nil, fmt.Errorf("start a full cluster: %w", err)
	}
	return f, nil
}

func (f *Full) start(ctx context.Context, cfg FullConfig) error {
	var err error
	if f.cgroups, err = findCgroups(); err != nil {
		return err
	}
	if f.plugins, err = findPlugins(); err != nil {
		return err
	}
	if f.nodeBinary == "" {
		if f.nodeBinary, err = BuildNode(ctx, cfg.Progress); err != nil {
			return err
		}
	}
	if f.fabric, err = newFabric(); err != nil {
		return err
	}
	if err := f.serviceAddress(); err != nil {
		return err
	}
	say(cfg.Progress, "starting etcd, kube-apiserver, kube-controller-manager and kube-scheduler")
	f.ControlPlane, err = StartControlPlane(ctx, ControlPlaneConfig{
		Dir: filepath.Join(cfg.Dir, "controlplane"), BindAddress: netip.MustParseAddr(serviceAddress), Port: 443,
		Binary: cfg.ControlPlane, Progress: cfg.Progress,
	})
	if err != nil {
		return err
	}
	for name, flags := range map[string][]string{"kube-controller-manager": controllerFlags(), "kube-scheduler": schedulerFlags()} {
		if err := f.launch(f.nodeBinary, name, flags, nil); err != nil {
			return err
		}
	}
	for _, machine := range cfg.Machines {
		if _, err := f.AddMachine(ctx, machine); err != nil {
			return err
		}
	}
	return nil
}

// serviceAddress puts the address of the API server's service on lo, where it
// needs no translation to be reached.
func (f *Full) serviceAddress() error {
	lo, err := f.fabric.ns.netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	err = f.fabric.ns.netlink.AddrAdd(lo, &netlink.Addr{IPNet: single(netip.MustParseAddr(serviceAddress))})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("address %s of lo: %w", serviceAddress, err)
	}
	return nil
}

// controllerFlags: nodes are looked at every second, so that one which comes up
// does not wait for pods. All files are in the control plane's folder.
func controllerFlags() []string {
	return []string{
		"--kubeconfig=kubeconfig", "--authentication-kubeconfig=kubeconfig", "--authorization-kubeconfig=kubeconfig",
		"--service-account-private-key-file=sa.key", "--root-ca-file=ca.crt",
		"--leader-elect=false", "--secure-port=0", "--node-monitor-period=1s",
		"--flex-volume-plugin-dir=volume-plugins",
	}
}

func schedulerFlags() []string {
	return []string{
		"--kubeconfig=kubeconfig", "--authentication-kubeconfig=kubeconfig", "--authorization-kubeconfig=kubeconfig",
		"--leader-elect=false", "--secure-port=0",
	}
}

// AddMachine makes a machine with a disk in memory, and boots it. Machines are
// never removed.
func (f *Full) AddMachine(ctx context.Context, c MachineConfig) (*Machine, error) {
	if c.Name == "" {
		return nil, errors.New("add a machine: no name given")
	}
	f.mu.Lock()
	defer f.mu.Unlock() // also while the network is made, which gives the machines their order
	say(f.config.Progress, "starting containerd and kubelet on machine "+c.Name)
	m := &Machine{
		Name: c.Name, ProviderID: c.ProviderID, full: f, number: len(f.machines) + 1, bridge: c.Bridge,
		dir: filepath.Join(f.config.Dir, c.Name), images: f.config.Images, programs: map[string]*Command{},
	}
	disk := diskOf(m.dir)
	if err := os.MkdirAll(disk, 0o755); err != nil { //nolint:gosec // containers of any user read there
		return nil, err
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "mode=755"); err != nil {
		return nil, fmt.Errorf("mount the disk of %s: %w", m.Name, err)
	}
	f.machines = append(f.machines, m)
	for path, content := range f.config.Files {
		file := filepath.Join(disk, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // as such folders are
			return nil, err
		}
		if err := os.WriteFile(file, content, 0o644); err != nil { //nolint:gosec // pods of any user read it
			return nil, err
		}
	}
	return m, m.Boot(ctx)
}

// Machines returns the machines in the order in which they were added.
func (f *Full) Machines() []*Machine {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*Machine(nil), f.machines...)
}

// Stop ends everything: machines with their containers, networks, the control
// plane. Further calls do nothing.
func (f *Full) Stop() {
	f.end.Do(func() {
		for _, m := range f.Machines() {
			m.Off()
			_ = unix.Unmount(diskOf(m.dir), unix.MNT_DETACH) // it goes with the sandbox at the latest
		}
		if f.ControlPlane != nil {
			f.ControlPlane.Stop()
		}
		if f.fabric != nil {
			f.fabric.close()
		}
		if f.cgroups != nil {
			f.cgroups.remove("")
		}
	})
}

// findPlugins finds the folder of the CNI plugins.
func findPlugins() (string, error) {
	folders := []string{"/usr/lib/cni", "/opt/cni/bin"}
	for _, folder := range folders {
		if exists(filepath.Join(folder, "ptp")) && exists(filepath.Join(folder, "bridge")) && exists(filepath.Join(folder, "host-local")) {
			return folder, nil
		}
	}
	return "", fmt.Errorf("the CNI plugins ptp, bridge and host-local are in none of %q (Debian: containernetworking-plugins)", folders)
}
