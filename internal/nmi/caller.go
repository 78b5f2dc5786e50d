package nmi

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/podid-io/podid/internal/imds"
)

// caller is who is at the other end of a connection. It is found out once for
// each connection, at its first request that needs to know.
type caller struct {
	conn   net.Conn
	holder holder // the address that the connection says it comes from; unverified
	source string // holder, for the audit log
	share  *share // of holder
	known  atomic.Bool

	once   sync.Once
	origin Origin // set by once
	err    error  // set by once

	mu  sync.Mutex
	uid string // the pod that the connection belongs to; guarded by mu
}

type callerKey struct{}

// withCaller is the ConnContext of the server.
func (s *Server) withCaller(ctx context.Context, c net.Conn) context.Context {
	addr := addressOf(c)
	who := &caller{conn: c, holder: holder{addr: addr}}
	if addr.IsValid() {
		who.source = addr.String()
	}
	var ok bool
	if who.share, ok = s.fair.connect(who.holder); !ok {
		s.config.Metrics.refused.Inc()
		_ = c.Close() // its first read ends it
	}
	s.config.Metrics.connections.Inc()
	return context.WithValue(ctx, callerKey{}, who)
}

// gone tells that a connection has ended; the server's withCaller saw it begin.
func (s *Server) gone(c net.Conn) {
	s.fair.disconnect(holder{addr: addressOf(c)})
	s.config.Metrics.connections.Dec()
}

// addressOf is the address that a connection says it comes from; the zero value
// for what has none.
func addressOf(c net.Conn) netip.Addr {
	if tcp, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// cost is what the next request costs: the first one has the kernel asked.
func (c *caller) cost() int {
	if c.known.Swap(true) {
		return 1
	}
	return connectionCost
}

// admit is the caller of a request, once it is its turn: taken once for each
// request, before anything of it is read. The answer has an error when it is not
// to be served.
func (s *Server) admit(r *http.Request, now time.Time) (*caller, answer) {
	c, ok := r.Context().Value(callerKey{}).(*caller)
	if !ok {
		return &caller{}, answer{outcome: failed, err: imds.Errorf(imds.Internal, "the request came without a connection")}
	}
	a := answer{holder: c.holder}
	if !s.fair.turn(r.Context(), c.share, c.holder, c.cost(), now) {
		a.outcome, a.reason, a.err = denied, reasonTooMany, errTooMany
	}
	return c, a
}

// who finds out where a connection comes from. The answer has an error when it is
// nobody's.
func (s *Server) who(c *caller) answer {
	err := c.attribute(s.config.Origins, s.config.Metadata)
	if err == nil {
		return answer{holder: c.holder}
	}
	o := denied
	if imds.Status(err) == http.StatusInternalServerError {
		o = failed
	}
	return answer{holder: c.holder, outcome: o, reason: reasonOrigin, err: err}
}

// attribute finds out the address of the caller and the interface that it is on.
// It fails unless the connection came by the redirect and by the interface that
// the address is behind: an address that a neighbour can neither borrow nor
// forge on a point-to-point link.
func (c *caller) attribute(o Origins, metadata netip.AddrPort) error {
	c.once.Do(func() { c.origin, c.err = o.Of(c.conn) })
	switch {
	case c.err != nil:
		return &imds.Error{Kind: imds.Internal, Description: "the connection cannot be attributed to a pod", Err: c.err}
	case metadata.IsValid() && c.origin.Destination != metadata:
		return imds.Errorf(imds.Denied, "the connection was not made to %s", metadata)
	case c.origin.Interface == 0 || c.origin.Interface != c.origin.RouteBack:
		return imds.Errorf(imds.Denied, "the connection did not come by the interface of %s", c.origin.Source)
	default:
		return nil
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
