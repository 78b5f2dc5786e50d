package redirect

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
)

// canary sends a TCP handshake to the metadata address as a pod would, from the
// far end of a veth pair of its own, and sees whether it arrives at our
// listener:
//
//	raw frames --> podid-canary-x ==veth== podid-canary --> guard, dnat, input --> listener
//
// The source is an address that nobody owns. Pods cannot use it: the guard drops
// it on every other link, LinkOf knows no pod behind this one, and the listener
// keeps its connections to itself. The canary sees nothing of an eBPF data plane
// that takes the packets of pods, and not its, past netfilter.
type canary struct {
	metadata netip.AddrPort
	source   netip.Addr
	arrived  chan uint16 // source ports of connections that came to our listener
	veth     *canaryVeth // nil before the first; used by one goroutine alone
}

// canaryPatience is how long a handshake may take.
const canaryPatience = 2 * time.Second

// canaryAgain is when the SYN is sent again: a link that has just come up may
// lose the first.
const canaryAgain = 200 * time.Millisecond

func newCanary(metadata netip.AddrPort, listen netip.Addr) *canary {
	source := listen.Next()
	if source == metadata.Addr() || !source.IsLinkLocalUnicast() {
		source = listen.Prev()
	}
	return &canary{metadata: metadata, source: source, arrived: make(chan uint16, 1)}
}

// sees takes the connection if it is the canary's.
func (k *canary) sees(c net.Conn) bool {
	remote, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok || remote.AddrPort().Addr().Unmap() != k.source {
		return false
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // no trace is left
	}
	_ = c.Close() // nothing was written
	select {
	case k.arrived <- remote.AddrPort().Port():
	default: // nobody waits for it any more
	}
	return true
}

// canaryRetry is how soon after a canary that did not arrive another is sent, to
// be sure before anybody is told.
const canaryRetry = 2 * time.Second

var errNoRedirect = errors.New("no canary is sent: the redirect does not stand")

// sendCanaries sends a canary after each time that the redirect was made to
// stand and at every interval, for as long as it stands. checks tells whether it
// does. It ends with ctx, and takes the veth pair with it.
func (r *Redirect) sendCanaries(ctx context.Context, checks <-chan bool) {
	defer r.canary.close()
	tick := time.NewTimer(r.config.CanaryInterval)
	defer tick.Stop()
	var seen table
	failed := false
	for stands := false; ; {
		var due bool
		select {
		case <-ctx.Done():
			return
		case now := <-checks:
			stood := stands
			stands = now
			r.mu.Lock()
			written := r.written
			r.mu.Unlock()
			due = stands && (!stood || !seen.stands(written))
			seen = written
			if !stands {
				r.config.ReportCanary(errNoRedirect)
			}
		case <-tick.C:
			due = stands
			tick.Reset(r.config.CanaryInterval)
		}
		if !due {
			continue
		}
		err := r.canary.send(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil || failed {
			r.config.ReportCanary(err)
		}
		if failed = err != nil; failed {
			tick.Reset(min(canaryRetry, r.config.CanaryInterval))
		}
	}
}

// send sends one canary, and returns nil when it has arrived.
func (k *canary) send(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, canaryPatience)
	defer cancel()
	if k.veth == nil || !k.veth.there() {
		k.close()
		var err error
		if k.veth, err = newCanaryVeth(k.source); err != nil {
			return fmt.Errorf("canary: %w", err)
		}
	}
	wire, err := k.veth.open()
	if err != nil {
		return fmt.Errorf("canary: %w", err)
	}
	defer func() { _ = wire.Close() }() // what was written was sent
	if err := k.knock(ctx, wire); err != nil {
		return fmt.Errorf("a canary sent to %s did not arrive at this agent: %w", k.metadata, err)
	}
	return nil
}

// knock makes a handshake over the wire.
func (k *canary) knock(ctx context.Context, wire *os.File) error {
	var b [6]byte
	if _, err := rand.Read(b[:]); err != nil {
		return err
	}
	port := 32768 | binary.BigEndian.Uint16(b[:])
	syn := segment{
		from: netip.AddrPortFrom(k.source, port), to: k.metadata,
		seq: binary.BigEndian.Uint32(b[2:]), flags: flagSYN,
	}
	select {
	case <-k.arrived: // one that was given up
	default:
	}
	answer, err := k.exchange(ctx, wire, syn)
	if err != nil {
		return err
	}
	ack := segment{from: syn.from, to: syn.to, seq: syn.seq + 1, ack: answer.seq + 1, flags: flagACK}
	if _, err := wire.Write(k.veth.frame(ack)); err != nil {
		return err
	}
	for {
		select {
		case got := <-k.arrived:
			if got == port {
				return nil
			}
		case <-ctx.Done():
			bye := ack
			bye.flags = flagRST
			_, _ = wire.Write(k.veth.frame(bye)) // whoever it was need not wait for us
			return errors.New("somebody else answers for that address")
		}
	}
}

// exchange sends a SYN, again and again, until its answer is there.
func (k *canary) exchange(ctx context.Context, wire *os.File, syn segment) (segment, error) {
	buf := make([]byte, 2048)
	for {
		if _, err := wire.Write(k.veth.frame(syn)); err != nil {
			return segment{}, fmt.Errorf("send: %w", err)
		}
		if err := wire.SetReadDeadline(time.Now().Add(canaryAgain)); err != nil {
			return segment{}, err
		}
		for {
			n, err := wire.Read(buf)
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				return segment{}, fmt.Errorf("receive: %w", err)
			}
			if err != nil {
				break
			}
			s, ok := parseFrame(buf[:n])
			if !ok || s.from != syn.to || s.to != syn.from || s.ack != syn.seq+1 {
				continue
			}
			if s.flags&flagRST != 0 {
				return s, errors.New("the connection was refused")
			}
			if s.flags&flagSYN != 0 {
				return s, nil
			}
		}
		if ctx.Err() != nil {
			return segment{}, errors.New("nobody answers")
		}
	}
}

// close takes the veth pair away.
func (k *canary) close() {
	if k.veth != nil {
		k.veth.remove()
		k.veth = nil
	}
}

// htons is a number in the network's order, as a packet socket wants it.
func htons(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}
