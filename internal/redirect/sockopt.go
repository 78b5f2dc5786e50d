package redirect

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ipPktOptions is IP_PKTOPTIONS of linux/in.h, which x/sys does not name.
const ipPktOptions = 9

// ingress returns the interface that the handshake of a connection came in by.
// IP_PKTINFO must be set on the accepted socket; the listener's is not enough.
func ingress(fd int) (int, error) {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1); err != nil {
		return 0, fmt.Errorf("set IP_PKTINFO: %w", err)
	}
	messages, err := controlMessages(fd, unix.IPPROTO_IP, ipPktOptions)
	if err != nil {
		return 0, fmt.Errorf("get IP_PKTOPTIONS: %w", err)
	}
	for _, m := range messages {
		if m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo {
			info := (*unix.Inet4Pktinfo)(unsafe.Pointer(&m.Data[0]))
			return int(info.Ifindex), nil
		}
	}
	return 0, errors.New("the kernel does not tell the interface of the connection (IP_PKTINFO)")
}

// ingress6 is ingress for IPv6.
func ingress6(fd int) (int, error) {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1); err != nil {
		return 0, fmt.Errorf("set IPV6_RECVPKTINFO: %w", err)
	}
	messages, err := controlMessages(fd, unix.IPPROTO_IPV6, unix.IPV6_2292PKTOPTIONS)
	if err != nil {
		return 0, fmt.Errorf("get IPV6_2292PKTOPTIONS: %w", err)
	}
	for _, m := range messages {
		if m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo {
			info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&m.Data[0]))
			return int(info.Ifindex), nil
		}
	}
	return 0, errors.New("the kernel does not tell the interface of the connection (IPV6_PKTINFO)")
}

// controlMessages reads a socket option that holds control messages.
func controlMessages(fd, level, option int) ([]syscall.SocketControlMessage, error) {
	var buf [128]byte
	n := uint32(len(buf))
	// A buffer of ours, whose length the kernel gets: the wrappers of x/sys cut the
	// value at its first NUL.
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return nil, errno
	}
	return syscall.ParseSocketControlMessage(buf[:n])
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
