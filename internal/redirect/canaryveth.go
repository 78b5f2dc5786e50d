package redirect

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Names of the canary's veth pair.
const (
	canaryName = "podid-canary"
	canaryFar  = "podid-canary-x"
)

// canaryHardware stands for who has the canary's address. It is not that of the
// far end, whose network stack must take no answer for its own.
//
//nolint:gochecknoglobals // a constant that Go cannot spell as such
var canaryHardware = net.HardwareAddr{0x02, 'p', 'o', 'd', 'i', 'd'}

// canaryVeth is the canary's veth pair; both ends are in the agent's network.
type canaryVeth struct {
	near, far int // indices
	hardware  net.HardwareAddr
}

// newCanaryVeth makes the pair, in the place of one that another agent left or
// that an older one has, and routes the address to its near end.
func newCanaryVeth(source netip.Addr) (*canaryVeth, error) {
	if err := removeCanary(); err != nil {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = canaryName
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: canaryFar}); err != nil {
		return nil, fmt.Errorf("make the veth pair %s (CAP_NET_ADMIN is needed): %w", canaryName, err)
	}
	v := &canaryVeth{}
	if err := v.setUp(source); err != nil {
		return nil, errors.Join(fmt.Errorf("set the veth pair %s up: %w", canaryName, err), removeCanary())
	}
	return v, nil
}

func (v *canaryVeth) setUp(source netip.Addr) error {
	for _, end := range []struct {
		name  string
		index *int
	}{{canaryFar, &v.far}, {canaryName, &v.near}} {
		l, err := netlink.LinkByName(end.name)
		if err != nil {
			return err
		}
		*end.index, v.hardware = l.Attrs().Index, l.Attrs().HardwareAddr
		_ = netlink.LinkSetIP6AddrGenMode(l, nl.IN6_ADDR_GEN_MODE_NONE) // spares some noise; not every kernel has IPv6
		if err := netlink.LinkSetUp(l); err != nil {
			return err
		}
	}
	if err := netlink.NeighSet(&netlink.Neigh{
		LinkIndex: v.near, Family: unix.AF_INET, State: netlink.NUD_PERMANENT,
		IP: source.AsSlice(), HardwareAddr: canaryHardware,
	}); err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{
		LinkIndex: v.near, Scope: netlink.SCOPE_LINK,
		Dst: &net.IPNet{IP: source.AsSlice(), Mask: net.CIDRMask(32, 32)},
	})
}

// there tells whether the pair has not gone.
func (v *canaryVeth) there() bool {
	l, err := netlink.LinkByIndex(v.near)
	return err == nil && l.Attrs().Name == canaryName
}

// open opens a socket for raw frames at the far end.
func (v *canaryVeth) open() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket (CAP_NET_RAW is needed): %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(protoIPv4), Ifindex: v.far}); err != nil {
		_ = unix.Close(fd) // nothing was written
		return nil, fmt.Errorf("bind a packet socket to %s: %w", canaryFar, err)
	}
	return os.NewFile(uintptr(fd), canaryFar), nil
}

// remove takes this pair away, and no other that has its name by now.
func (v *canaryVeth) remove() {
	if v.there() {
		_ = netlink.LinkDel(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Index: v.near}}) // the next agent does it at the latest
	}
}

// removeCanary takes the pair away, whoever made it.
func removeCanary() error {
	l, err := netlink.LinkByName(canaryName)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find %s: %w", canaryName, err)
	}
	if l.Type() != "veth" {
		return fmt.Errorf("interface %s is a %s, and none of ours", canaryName, l.Type())
	}
	if err := netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove %s: %w", canaryName, err)
	}
	return nil
}
