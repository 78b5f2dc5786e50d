package churn_test

import (
	"context"
	"net"
	"net/netip"
	"sync"

	"github.com/podid-io/podid/test/churn/model"
)

// wire is a connection in memory, as the agent accepts it.
type wire struct {
	net.Conn
	remote netip.AddrPort

	from   *model.Sandbox // whose packets they are
	source netip.Addr     // whose they say they are
	link   int            // by which interface the handshake came
}

func (w *wire) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(w.remote) }

// listener hands out the far ends of connections in memory.
type listener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func listen() *listener { return &listener{conns: make(chan net.Conn), done: make(chan struct{})} }

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (*listener) Addr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("169.254.25.79:2579"))
}

// dial connects; whoever accepts gets accepted, with its Conn set.
func (l *listener) dial(ctx context.Context, accepted *wire) (net.Conn, error) {
	near, far := net.Pipe()
	accepted.Conn = far
	select {
	case l.conns <- accepted:
		return near, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
