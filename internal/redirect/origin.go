package redirect

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
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

// Of asks the kernel where an accepted IPv4 TCP connection comes from. A
// connection that was not translated has the listener's address as its
// Destination.
func (o *Origins) Of(c net.Conn) (Origin, error) {
	local, remote, err := endpoints(c)
	if err != nil {
		return Origin{}, err
	}
	origin := Origin{Source: remote.Addr(), Destination: local}
	err = control(c, func(fd int) (err error) {
		if origin.Interface, err = ingress(fd); err != nil {
			return err
		}
		translated, err := originalDestination(fd)
		if translated.IsValid() {
			origin.Destination = translated
		}
		return err
	})
	if err != nil {
		return Origin{}, err
	}
	origin.RouteBack = o.LinkOf(origin.Source)
	return origin, nil
}

// OfLoopback tells whether an accepted connection was made on this node: from a
// loopback address, IPv4 or IPv6, and by the loopback interface. The address
// alone proves nothing where a node routes such addresses for others
// (route_localnet).
func (o *Origins) OfLoopback(c net.Conn) (bool, error) {
	local, remote, err := endpoints(c)
	if err != nil || !local.Addr().IsLoopback() || !remote.Addr().IsLoopback() {
		return false, err
	}
	lo, err := o.routes.LinkByName("lo")
	if err != nil {
		return false, fmt.Errorf("find the loopback interface: %w", err)
	}
	var came int
	err = control(c, func(fd int) (err error) {
		if remote.Addr().Is4() {
			came, err = ingress(fd)
		} else {
			came, err = ingress6(fd)
		}
		return err
	})
	return err == nil && came == lo.Attrs().Index, err
}

// control calls f with the connection's socket.
func control(c net.Conn, f func(fd int) error) error {
	s, ok := c.(syscall.Conn)
	if !ok {
		return fmt.Errorf("a %T has no socket", c)
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return fmt.Errorf("the connection's socket: %w", err)
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = f(int(fd)) })
	return errors.Join(err, inner)
}
