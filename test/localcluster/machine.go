package localcluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// MachineConfig describes a node on which containers run.
type MachineConfig struct {
	// Name is the name of the Node object; it must be given.
	Name string
	// ProviderID is the Azure resource behind the node.
	ProviderID string
	// Bridge hangs the pods on a bridge, by the CNI plugin of that name. False
	// means the plugin ptp, which gives each pod a link of its own.
	Bridge bool
}

// Machine is a node on which containers run: a network, a mount and a process
// namespace with a containerd and a kubelet in them. It has a disk of its own,
// which outlives [Machine.Reboot] and not the sandbox.
//
//	the first process, which mounts and reaps          (machine_inner.go)
//	  /etc, /var   overlays over the host's, changes are on the machine's disk
//	  /run         empty at each boot
//	containerd, kubelet, and by them containers        (machine_programs.go)
type Machine struct {
	Name       string
	ProviderID string
	Addr       netip.Addr   // of its eth0
	PodRange   netip.Prefix // that the addresses of its pods are from

	full   *Full
	number int
	bridge bool
	dir    string // disk, logs and configuration

	mu       sync.Mutex // guards what follows; held during a boot
	node     *Node      // its network; nil: switched off
	first    *process
	images   []string // to be imported at the next boot
	space    *machineSpace
	programs map[string]*Command
}

// Boot switches the machine on and starts its programs. It returns when
// containerd answers and kubelet was started.
func (m *Machine) Boot(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.node != nil {
		return fmt.Errorf("boot %s: it runs", m.Name)
	}
	if err := m.boot(ctx); err != nil {
		m.off()
		return fmt.Errorf("boot %s: %w", m.Name, err)
	}
	return nil
}

// Off takes the current away: everything on the machine is killed at once, and
// its network is gone. What is on its disk stays.
func (m *Machine) Off() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.off()
}

// Reboot is Off and Boot.
func (m *Machine) Reboot(ctx context.Context) error {
	m.Off()
	return m.Boot(ctx)
}

func (m *Machine) boot(ctx context.Context) error {
	node, err := m.full.fabric.attach(m.number, NodeConfig{Name: m.Name, ProviderID: m.ProviderID, plugin: m.bridge})
	if err != nil {
		return err
	}
	m.node, m.Addr, m.PodRange = node, node.Addr, node.PodRange
	if err := m.full.cgroups.make(m.Name); err != nil {
		return err
	}
	if m.first, err = startMachine(m.dir, node.ns); err != nil {
		return err
	}
	if m.space, err = openMachineSpace(m.first.cmd.Process.Pid, node.ns); err != nil {
		return err
	}
	if err := m.writeConfiguration(); err != nil {
		return err
	}
	if err := m.startContainerd(ctx); err != nil {
		return err
	}
	return m.startKubelet(ctx)
}

func (m *Machine) off() {
	if m.first != nil {
		m.first.kill() // and all others with it: it is the first of its process namespace
		m.first = nil
	}
	for _, c := range m.programs {
		_ = c.Wait() // killed
	}
	clear(m.programs)
	if m.space != nil {
		m.space.close()
		m.space = nil
	}
	if m.node != nil {
		m.node.detach()
		m.node = nil
		m.full.cgroups.remove(m.Name)
	}
}

// Do runs fn on a thread in the machine's network namespace, and waits for it.
func (m *Machine) Do(fn func() error) error {
	m.mu.Lock()
	node := m.node
	m.mu.Unlock()
	if node == nil {
		return fmt.Errorf("%s is switched off", m.Name)
	}
	return node.Do(fn)
}

// Command prepares a program that runs on the machine, in its file system, as
// somebody who is logged in there would run it. It is killed when the machine
// is switched off.
func (m *Machine) Command(ctx context.Context, name string, args ...string) (*Command, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.space == nil {
		return nil, fmt.Errorf("%s is switched off", m.Name)
	}
	return m.command(ctx, name, args...), nil
}

func (m *Machine) command(ctx context.Context, name string, args ...string) *Command {
	c := m.node.ns.command(ctx, name, args...)
	c.at = m.space
	c.Dir = "/"
	c.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	return c
}

// machineSpace is where the programs of a machine run: threads that enter it
// never come back.
type machineSpace struct{ network, mount, process *os.File }

func openMachineSpace(pid int, network *namespace) (*machineSpace, error) {
	s := &machineSpace{network: network.file}
	var errs [2]error
	of := filepath.Join("/proc", strconv.Itoa(pid), "ns")
	s.mount, errs[0] = os.Open(filepath.Join(of, "mnt"))
	s.process, errs[1] = os.Open(filepath.Join(of, "pid"))
	if err := errors.Join(errs[:]...); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// close lets go of the namespaces; that of the network is the node's.
func (s *machineSpace) close() {
	for _, f := range []*os.File{s.mount, s.process} {
		if f != nil {
			_ = f.Close() // only read from
		}
	}
}

// locked runs fn in the machine. The goroutine stays locked to its thread, so
// that the thread ends with it.
func (s *machineSpace) locked(fn func() error) error {
	if err := s.enter(); err != nil {
		return fmt.Errorf("enter the machine: %w", err)
	}
	return fn()
}

// enter moves the thread for good: its file system is its own from here on, and
// its children are in the machine's process namespace.
func (s *machineSpace) enter() error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	for _, join := range []struct {
		file *os.File
		kind int
	}{{s.network, unix.CLONE_NEWNET}, {s.process, unix.CLONE_NEWPID}, {s.mount, unix.CLONE_NEWNS}} {
		if err := unix.Setns(int(join.file.Fd()), join.kind); err != nil {
			return err
		}
	}
	return nil
}
