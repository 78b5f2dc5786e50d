package netns_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podid-io/podid/test/churn/model"
)

// Queues of a socket and an option, of linux/tcp.h and net/tcp.h, and the window
// of a connection that is resumed.
const (
	recvQueue       = 1
	sendQueue       = 2
	timestampOption = 8
	room            = 16 << 10
)

// legacy is an open connection that its pod left behind without a word, as far as
// another needs to know it to go on with it: what somebody knows who could read
// along, or who guesses well.
type legacy struct {
	*conn
	uid           string // of the pod that made it
	local, remote netip.AddrPort
	sent, had     int // sequence numbers
	clock         int // of its timestamps
}

// leave takes the connection that a pod keeps out of its hands; nil where there is
// none, or it has lost an end.
func (w *world) leave(p *pod) *legacy {
	w.t.Helper()
	if p.kept == nil || !w.alive(p.kept) {
		return nil
	}
	l := &legacy{conn: p.kept, uid: p.kept.from.UID}
	p.kept = nil
	tcp, ok := l.Conn.(*net.TCPConn)
	if !ok {
		w.t.Fatalf("a %T is no TCP connection", l.Conn)
	}
	var errs [3]error
	l.local, errs[0] = netip.ParseAddrPort(tcp.LocalAddr().String())
	l.remote, errs[1] = netip.ParseAddrPort(tcp.RemoteAddr().String())
	raw, err := tcp.SyscallConn()
	w.must(err)
	w.must(raw.Control(func(fd uintptr) { errs[2] = l.freeze(int(fd)) }))
	w.must(errors.Join(errs[:]...))
	_ = tcp.Close() // silent from now on
	return l
}

// maybeLeave leaves now and then: what comes of it may be held.
func (w *world) maybeLeave(p *pod) *legacy {
	if w.r.IntN(2) == 0 {
		return nil
	}
	return w.leave(p)
}

// freeze makes a socket silent and reads where it stands.
// What has come is acknowledged before: it would be sent again, and refused where
// there is no socket for a moment.
func (l *legacy) freeze(fd int) (err error) {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1); err != nil {
		return os.NewSyscallError("TCP_QUICKACK", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1); err != nil {
		return os.NewSyscallError("TCP_REPAIR", err)
	}
	if l.had, err = sequence(fd, recvQueue); err != nil {
		return err
	}
	if l.sent, err = sequence(fd, sendQueue); err != nil {
		return err
	}
	l.clock, err = unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_TIMESTAMP)
	return os.NewSyscallError("TCP_TIMESTAMP", err)
}

func sequence(fd, queue int) (int, error) {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR_QUEUE, queue); err != nil {
		return 0, os.NewSyscallError("TCP_REPAIR_QUEUE", err)
	}
	n, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ)
	return n, os.NewSyscallError("TCP_QUEUE_SEQ", err)
}

// inherit has a pod go on with a connection that was left where its address is
// now, and ask on it. Where another pod made it, no token comes. Where the pod
// itself did, on the network that it still has, it goes on as if nothing had been.
func (w *world) inherit(p *pod, l *legacy) {
	w.t.Helper()
	if l == nil || p == nil || l.local.Addr() != p.Addr {
		return
	}
	var resumed net.Conn
	w.must(p.Do(func() (err error) {
		resumed, err = l.resume()
		return err
	}))
	c := &conn{Conn: resumed, in: bufio.NewReader(resumed), agent: l.agent, from: l.from, pinned: l.pinned, used: l.used}
	own, limit := l.from == p.sandbox && w.alive(c), 3*brief // it may be held, and told to ask again
	if own {
		limit = patience
	}
	w.say("%s goes on with a connection of %s, its own: %t", p.Name, l.from.Pod.Name, own)
	call := &model.Call{Ask: w.anyAsk(p), From: p.sandbox, Forged: l.uid != p.sandbox.UID, Pinned: l.pinned, Sent: time.Now()}
	w.see(call, p)
	_, err := w.send(c, p, call, limit)
	if own && err == nil {
		w.count.resumed++
		p.kept = c
		return
	}
	_ = c.Close() // its answer has come, or none will
	if own {
		w.unanswered(call, err)
		return
	}
	w.count.inherited++
	if err != nil {
		w.say("it has no answer: %v", err)
		w.count.silent++
		return
	}
	w.count.refusedHeirs++
}

// resume makes a socket that stands where the old one stood.
func (l *legacy) resume() (net.Conn, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "resumed")
	defer func() { _ = f.Close() }() // the connection has a copy
	set := func(option, value int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, option, value)
	}
	structure := func(option int, fields ...uint32) error {
		var b []byte
		for _, f := range fields {
			b = binary.NativeEndian.AppendUint32(b, f)
		}
		return unix.SetsockoptString(fd, unix.IPPROTO_TCP, option, string(b))
	}
	for _, step := range []func() error{
		func() error { return set(unix.TCP_REPAIR, 1) },
		func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) },
		func() error { return set(unix.TCP_REPAIR_QUEUE, recvQueue) },
		func() error { return set(unix.TCP_QUEUE_SEQ, l.had) },
		func() error { return set(unix.TCP_REPAIR_QUEUE, sendQueue) },
		func() error { return set(unix.TCP_QUEUE_SEQ, l.sent) },
		func() error { return unix.Bind(fd, socketAddress(l.local)) },
		func() error { return unix.Connect(fd, socketAddress(l.remote)) },
		func() error { return structure(unix.TCP_REPAIR_OPTIONS, timestampOption, 0) },
		func() error { return set(unix.TCP_TIMESTAMP, l.clock) },
		func() error { // with room for a request and an answer, or it would have to ask for room first
			return structure(unix.TCP_REPAIR_WINDOW, uint32(l.had), room, room, room, uint32(l.had))
		},
		func() error { return set(unix.TCP_REPAIR, unix.TCP_REPAIR_OFF_NO_WP) }, // it speaks again
	} {
		if err := step(); err != nil {
			return nil, os.NewSyscallError("resume a connection", err)
		}
	}
	return net.FileConn(f)
}

func socketAddress(a netip.AddrPort) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}
