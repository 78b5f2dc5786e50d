package redirect

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Origin is what the kernel knows of an accepted connection.
type Origin struct {
	// Source is the address that the packets came from.
	Source netip.Addr
	// Interface is the index of the interface that the handshake came in by.
	Interface int
	// RouteBack is the index of the interface that Source is on; see LinkOf.
	RouteBack int
	// Destination is what the client connected to, before any translation.
	Destination netip.AddrPort
}

// Origins looks connections up in the kernel of one network namespace.
type Origins struct {
	routes   *netlink.Handle
	metadata netip.Addr
}

// NewOrigins opens the socket that routes are asked over; Close closes it.
// metadata is the address of the metadata service, which the node reaches by
// its uplink.
func NewOrigins(metadata netip.Addr) (*Origins, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket to the routes: %w", err)
	}
	return &Origins{routes: h, metadata: metadata}, nil
}

// LinkOf is the index of the interface that the address of a pod is on. It is 0
// when there is none, when a gateway lies between, when it is the node's uplink,
// by which other machines come, and when it is a bridge, behind which one pod
// can take the address of another.
func (o *Origins) LinkOf(a netip.Addr) int {
	route := o.route(a)
	if route.Gw != nil || route.Via != nil || route.LinkIndex == 0 {
		return 0
	}
	uplink := o.route(o.metadata)
	if uplink.LinkIndex == route.LinkIndex && uplink.Type != unix.RTN_LOCAL {
		return 0
	}
	l, err := o.routes.LinkByIndex(route.LinkIndex)
	if err != nil || l.Type() == "bridge" {
		return 0
	}
	return route.LinkIndex
}

// route is how packets to an address leave; the zero value when they do not.
func (o *Origins) route(a netip.Addr) netlink.Route {
	routes, err := o.routes.RouteGet(net.IP(a.AsSlice()))
	if err != nil || len(routes) != 1 {
		return netlink.Route{}
	}
	return routes[0]
}

// Close closes the socket.
func (o *Origins) Close() { o.routes.Close() }

// Of asks the kernel where an accepted IPv4 TCP connection comes from. A
// connection that was not translated has the listener's address as its
// Destination.
func (o *Origins) Of(c net.Conn) (Origin, error) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return Origin{}, fmt.Errorf("a %T is no TCP connection", c)
	}
	remote, err := netip.ParseAddrPort(tcp.RemoteAddr().String())
	if err != nil {
		return Origin{}, fmt.Errorf("remote address: %w", err)
	}
	local, err := netip.ParseAddrPort(tcp.LocalAddr().String())
	if err != nil {
		return Origin{}, fmt.Errorf("local address: %w", err)
	}
	origin := Origin{Source: remote.Addr().Unmap(), Destination: netip.AddrPortFrom(local.Addr().Unmap(), local.Port())}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return Origin{}, fmt.Errorf("the connection's socket: %w", err)
	}
	var sockErr error
	err = raw.Control(func(fd uintptr) {
		if origin.Interface, sockErr = ingress(int(fd)); sockErr != nil {
			return
		}
		var translated netip.AddrPort
		translated, sockErr = originalDestination(int(fd))
		if translated.IsValid() {
			origin.Destination = translated
		}
	})
	if err := errors.Join(err, sockErr); err != nil {
		return Origin{}, err
	}
	origin.RouteBack = o.LinkOf(origin.Source)
	return origin, nil
}

// ipPktOptions is IP_PKTOPTIONS of linux/in.h, which x/sys does not name.
const ipPktOptions = 9

// ingress returns the interface that the handshake of a connection came in by.
// IP_PKTINFO must be set on the accepted socket; the listener's is not enough.
func ingress(fd int) (int, error) {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1); err != nil {
		return 0, fmt.Errorf("set IP_PKTINFO: %w", err)
	}
	var buf [64]byte
	n := uint32(len(buf))
	// A buffer of ours, whose length the kernel gets: the wrappers of x/sys cut the
	// value at its first NUL.
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_IP, ipPktOptions,
		uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return 0, fmt.Errorf("get IP_PKTOPTIONS: %w", errno)
	}
	messages, err := syscall.ParseSocketControlMessage(buf[:n])
	if err != nil {
		return 0, fmt.Errorf("read IP_PKTOPTIONS: %w", err)
	}
	for _, m := range messages {
		if m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo {
			info := (*unix.Inet4Pktinfo)(unsafe.Pointer(&m.Data[0]))
			return int(info.Ifindex), nil
		}
	}
	return 0, errors.New("the kernel does not tell the interface of the connection (IP_PKTINFO)")
}

// soOriginalDst is SO_ORIGINAL_DST of linux/netfilter_ipv4.h.
const soOriginalDst = 80

// originalDestination returns the destination before translation, or the zero
// value where connection tracking knows of none.
func originalDestination(fd int) (netip.AddrPort, error) {
	// A sockaddr_in of 16 bytes; the option with a value of that size that x/sys
	// can read is this one.
	v, err := unix.GetsockoptIPv6Mreq(fd, unix.IPPROTO_IP, soOriginalDst)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOPROTOOPT) {
		return netip.AddrPort{}, nil
	}
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("get SO_ORIGINAL_DST: %w", err)
	}
	b := v.Multiaddr
	addr := netip.AddrFrom4([4]byte{b[4], b[5], b[6], b[7]})
	return netip.AddrPortFrom(addr, uint16(b[2])<<8|uint16(b[3])), nil
}
