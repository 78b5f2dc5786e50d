package redirect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// States of a TCP socket, of net/tcp_states.h.
const (
	tcpEstablished = 1
	tcpListen      = 10
)

// PeerUID returns who owns the other end of an accepted loopback connection,
// over IPv4 or IPv6. It is an error where the kernel does not tell with
// certainty: the other end must be an open socket of this network namespace that
// is connected to ours. One that was closed, or closed for writing, has no owner
// any more, and the kernel would call it root's.
func PeerUID(c net.Conn) (uint32, error) {
	local, remote, err := endpoints(c)
	if err != nil {
		return 0, err
	}
	if !local.Addr().IsLoopback() || !remote.Addr().IsLoopback() {
		return 0, fmt.Errorf("the connection from %s to %s is no loopback connection", remote, local)
	}
	s, err := findSocket(remote, local)
	if err != nil {
		return 0, fmt.Errorf("find the socket of %s: %w", remote, err)
	}
	if s.state != tcpEstablished || s.inode == 0 {
		return 0, fmt.Errorf("the socket of %s is closed or not connected: its owner is not certain", remote)
	}
	return s.uid, nil
}

// endpoints returns both addresses of a TCP connection, IPv4 as such.
func endpoints(c net.Conn) (local, remote netip.AddrPort, err error) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return local, remote, fmt.Errorf("a %T is no TCP connection", c)
	}
	l, okLocal := tcp.LocalAddr().(*net.TCPAddr)
	r, okRemote := tcp.RemoteAddr().(*net.TCPAddr)
	if !okLocal || !okRemote {
		return local, remote, errors.New("the connection has no addresses")
	}
	return plain(l.AddrPort()), plain(r.AddrPort()), nil
}

// plain writes an IPv4 address that came in IPv6 clothes as what it is.
func plain(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// socket is what sock_diag tells of one.
type socket struct {
	state      uint8
	uid, inode uint32
}

var errNoSocket = errors.New("there is no such socket")

// findSocket asks the kernel for the TCP socket with exactly these addresses. A
// remote that is not valid asks for one that listens.
func findSocket(local, remote netip.AddrPort) (socket, error) {
	if !remote.IsValid() {
		none := netip.IPv4Unspecified()
		if local.Addr().Is6() {
			none = netip.IPv6Unspecified()
		}
		remote = netip.AddrPortFrom(none, 0)
	}
	conn, err := netlink.Dial(unix.NETLINK_INET_DIAG, nil)
	if err != nil {
		return socket{}, fmt.Errorf("open a netlink socket to the sockets: %w", err)
	}
	defer func() { _ = conn.Close() }() // nothing was written
	answers, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.SOCK_DIAG_BY_FAMILY, Flags: netlink.Request},
		Data:   socketRequest(local, remote),
	})
	if errors.Is(err, unix.ENOENT) {
		return socket{}, errNoSocket
	}
	if err != nil {
		return socket{}, fmt.Errorf("ask for a socket: %w", err)
	}
	if len(answers) != 1 {
		return socket{}, fmt.Errorf("the kernel tells of %d sockets, want 1", len(answers))
	}
	return parseSocket(answers[0].Data, local, remote)
}

// Layout of inet_diag_req_v2 and inet_diag_msg of linux/inet_diag.h. Both hold
// an inet_diag_sockid: ports, addresses, interface and cookie, 48 bytes.
const (
	sockidLen  = 48
	requestLen = 8 + sockidLen
	answerLen  = 4 + sockidLen + 20
)

func socketRequest(local, remote netip.AddrPort) []byte {
	b := make([]byte, requestLen)
	b[0], b[1] = family(local.Addr()), unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[4:], ^uint32(0)) // any state
	id := b[8:]
	putSockid(id, local, remote)
	binary.NativeEndian.PutUint64(id[40:], ^uint64(0)) // no cookie
	return b
}

func putSockid(id []byte, local, remote netip.AddrPort) {
	binary.BigEndian.PutUint16(id[0:], local.Port())
	binary.BigEndian.PutUint16(id[2:], remote.Port())
	copy(id[4:20], local.Addr().AsSlice())
	copy(id[20:36], remote.Addr().AsSlice())
}

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// parseSocket reads an answer, and refuses one about another socket: the kernel
// looks for a listener where it finds no connection.
func parseSocket(b []byte, local, remote netip.AddrPort) (socket, error) {
	if len(b) < answerLen {
		return socket{}, errors.New("the kernel's answer is too short")
	}
	want := make([]byte, sockidLen)
	putSockid(want, local, remote)
	if b[0] == unix.AF_INET6 && local.Addr().Is4() {
		putSockid(want, mapped(local), mapped(remote))
	}
	if string(b[4:4+36]) != string(want[:36]) {
		return socket{}, errNoSocket
	}
	rest := b[4+sockidLen:] // expires, rqueue, wqueue, uid, inode
	return socket{state: b[1], uid: binary.NativeEndian.Uint32(rest[12:]), inode: binary.NativeEndian.Uint32(rest[16:])}, nil
}

// mapped is how an IPv6 socket names an IPv4 address.
func mapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
}

// listening tells whether a socket listens at exactly this address.
func listening(at netip.AddrPort) (bool, error) {
	s, err := findSocket(at, netip.AddrPort{})
	if errors.Is(err, errNoSocket) {
		return false, nil
	}
	return s.state == tcpListen, err
}
