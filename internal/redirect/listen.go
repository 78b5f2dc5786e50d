package redirect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// sparePorts is how many ports after the first Listen tries: one is enough for
// the agent that is replaced, the others for programs that are none of ours.
const sparePorts = 20

// Listen listens at the listen address, whose port it is free to choose: where
// the agent that this one replaces still has the first, the next free one. The
// redirect goes to the port that it found. What the canary sends is not passed
// on. Call it before Run.
func (r *Redirect) Listen(ctx context.Context) (net.Listener, error) {
	if err := r.EnsureAddress(); err != nil {
		return nil, err
	}
	at := r.config.Listen
	for {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp4", at.String())
		if err == nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.listen = at
			if r.canary == nil {
				return l, nil
			}
			return &listener{Listener: l, canary: r.canary}, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) || at.Port() == 65535 || at.Port() >= r.config.Listen.Port()+sparePorts {
			return nil, fmt.Errorf("listen for pods: %w", err)
		}
		at = netip.AddrPortFrom(at.Addr(), at.Port()+1)
	}
}

// Served tells whether another agent has the redirect and listens: then there is
// time until this one is ready, and Run need not come before.
func (r *Redirect) Served() (bool, error) {
	now, err := readTable()
	if err != nil {
		return false, err
	}
	r.mu.Lock()
	own := r.listen
	r.mu.Unlock()
	if now.mark.generation == 0 || now.mark.yielded || now.mark.listen == own {
		return false, nil
	}
	return listening(now.mark.listen)
}

// Awaited tells whether another agent listens at the listen address, also one
// that does not have the redirect yet. Ask when this one's listener is closed.
func (r *Redirect) Awaited() (bool, error) {
	at := r.config.Listen
	for range sparePorts + 1 {
		if there, err := listening(at); there || err != nil || at.Port() == 65535 {
			return there, err
		}
		at = netip.AddrPortFrom(at.Addr(), at.Port()+1)
	}
	return false, nil
}

// listener keeps the canary's connections to itself.
type listener struct {
	net.Listener
	canary *canary
}

// Accept implements [net.Listener].
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil || !l.canary.sees(c) {
			return c, err
		}
	}
}
