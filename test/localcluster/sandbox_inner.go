package localcluster

import (
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// enterSandbox makes the new namespaces usable and tells whether they are. What
// goes wrong is written to the report file for the outer program, to which the
// file's end says that all is set up.
//
// The program is the first of its process namespace: when it ends, the kernel
// kills everything else in the sandbox. It does not collect the children that
// other programs leave behind; they are gone with the sandbox.
func enterSandbox() bool {
	report := os.NewFile(reportFile, "sandbox report")
	err := furnish()
	if err != nil {
		_, _ = fmt.Fprint(report, err) // nobody else to tell
	}
	_ = report.Close() // a pipe: nothing is buffered
	return err == nil
}

// furnish mounts /proc, brings lo up and tries what nodes and pods will need.
func furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount a fresh /proc: %w (a container runtime that masks parts of /proc prevents it)", err)
	}
	fabric, err := currentNamespace()
	if err != nil {
		return err
	}
	defer fabric.close()
	if err := route(fabric); err != nil {
		return fmt.Errorf("let the sandbox forward packets: %w", err)
	}
	if err := tryVeth(fabric); err != nil {
		return err
	}
	name, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return err
	}
	return os.Setenv(sandboxEnv, sandboxInside+name)
}

// route makes a namespace a router. A new namespace takes these settings from
// the host, so all that matter are written.
func route(n *namespace) error {
	for _, s := range [][2]string{
		{"ipv4/conf/all/rp_filter", "0"},
		{"ipv4/conf/default/rp_filter", "0"},
		{"ipv4/ip_forward", "1"},
	} {
		if err := n.sysctl(s[0], s[1]); err != nil {
			return err
		}
	}
	return nil
}

// tryVeth makes and removes a veth pair with one end in another namespace.
func tryVeth(fabric *namespace) error {
	other, err := newNamespace()
	if err != nil {
		return err
	}
	defer other.close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "try"
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(other.file.Fd()))}
	if err := fabric.netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make a veth pair: %w (the kernel needs CONFIG_VETH)", err)
	}
	return fabric.netlink.LinkDel(veth)
}
