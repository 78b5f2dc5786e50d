package nmi

import (
	"context"
	"net"
	"net/netip"
	"sync"

	"github.com/podid-io/podid/internal/imds"
)

// caller is who is at the other end of a connection. It is found out once for
// each connection, at its first request for a token.
type caller struct {
	conn net.Conn

	once   sync.Once
	origin Origin // set by once
	err    error  // set by once

	mu  sync.Mutex
	uid string // the pod that the connection belongs to; guarded by mu
}

type callerKey struct{}

// withCaller is the ConnContext of the server.
func withCaller(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, callerKey{}, &caller{conn: c})
}

// source returns the address of the caller and the interface that it is on,
// when the connection came by the redirect and by that interface: an address
// that a neighbour can neither borrow nor forge on a point-to-point link.
func (c *caller) source(o Origins, metadata netip.AddrPort) (addr netip.Addr, link int, err error) {
	c.once.Do(func() { c.origin, c.err = o.Of(c.conn) })
	switch {
	case c.err != nil:
		return netip.Addr{}, 0, &imds.Error{Kind: imds.Internal, Description: "the connection cannot be attributed to a pod", Err: c.err}
	case metadata.IsValid() && c.origin.Destination != metadata:
		return netip.Addr{}, 0, imds.Errorf(imds.Denied, "the connection was not made to %s", metadata)
	case c.origin.Interface == 0 || c.origin.Interface != c.origin.RouteBack:
		return netip.Addr{}, 0, imds.Errorf(imds.Denied, "the connection did not come by the interface of %s", c.origin.Source)
	default:
		return c.origin.Source, c.origin.Interface, nil
	}
}

// pin ties the connection to the pod that made its first request, and reports
// whether it still belongs to it: an address can go to another pod while a
// connection lives.
func (c *caller) pin(uid string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.uid == "" {
		c.uid = uid
	}
	return c.uid == uid
}
