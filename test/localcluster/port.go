package localcluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// port is where an API server is to listen. It may be held until then: the other
// programs that ask for a free port in the meantime do not get it.
type port struct {
	netip.AddrPort

	held *os.File // nil where it is not
}

// takePort takes a port: the given one, which has to be free, or for zero any, which
// is held.
func takePort(ctx context.Context, address netip.Addr, number uint16) (port, error) {
	p := port{AddrPort: netip.AddrPortFrom(address, number)}
	var err error
	if number == 0 {
		p, err = holdPort(address)
	} else {
		err = checkFree(ctx, p.AddrPort)
	}
	if err != nil {
		return port{}, fmt.Errorf("find a port for the API server: %w", err)
	}
	return p, nil
}

// release lets go of the port.
func (p port) release() {
	if p.held != nil {
		_ = p.held.Close() // it was never used
	}
}

// checkFree makes sure that nobody listens at a port. Nobody is given it who asks for
// any.
func checkFree(ctx context.Context, p netip.AddrPort) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", p.String())
	if err != nil {
		return err
	}
	return l.Close() // nothing came in
}

// holdPort holds a free port. The socket that does so does not listen: no connection
// ends there, and all are refused as long as nobody listens who shares the port, which
// programs of the same user may (SO_REUSEPORT).
func holdPort(address netip.Addr) (port, error) {
	family, at := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: address.As16()})
	if address.Is4() {
		family, at = unix.AF_INET, &unix.SockaddrInet4{Addr: address.As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return port{}, err
	}
	p := port{held: os.NewFile(uintptr(fd), "port")}
	// Without SO_REUSEADDR: whoever set that too could have the port as well.
	if err := errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1), unix.Bind(fd, at)); err != nil {
		return port{}, errors.Join(err, p.held.Close())
	}
	got, err := unix.Getsockname(fd)
	if err != nil {
		return port{}, errors.Join(err, p.held.Close())
	}
	switch a := got.(type) {
	case *unix.SockaddrInet4:
		p.AddrPort = netip.AddrPortFrom(address, uint16(a.Port)) //nolint:gosec // a port
	case *unix.SockaddrInet6:
		p.AddrPort = netip.AddrPortFrom(address, uint16(a.Port)) //nolint:gosec // a port
	}
	return p, nil
}
