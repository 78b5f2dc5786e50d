package redirect

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// segment is what we write into a TCP segment and look at in one. It has no
// data.
type segment struct {
	from, to netip.AddrPort
	seq, ack uint32
	flags    uint8
}

// Flags of TCP.
const (
	flagSYN = 1 << 1
	flagRST = 1 << 2
	flagACK = 1 << 4
)

// protoIPv4 is the type of IPv4 frames.
const protoIPv4 = unix.ETH_P_IP

// Lengths of headers without options.
const (
	ethernetLen = 14
	ipv4Len     = 20
	tcpLen      = 20
)

// frame writes an Ethernet frame that holds the segment.
func (v *canaryVeth) frame(s segment) []byte {
	b := make([]byte, ethernetLen+ipv4Len+tcpLen)
	copy(b[0:6], v.hardware)
	copy(b[6:12], canaryHardware)
	binary.BigEndian.PutUint16(b[12:], protoIPv4)

	ip := b[ethernetLen:]
	ip[0] = 4<<4 | ipv4Len/4
	binary.BigEndian.PutUint16(ip[2:], ipv4Len+tcpLen)
	ip[8], ip[9] = 64, unix.IPPROTO_TCP // hops left
	copy(ip[12:16], s.from.Addr().AsSlice())
	copy(ip[16:20], s.to.Addr().AsSlice())
	binary.BigEndian.PutUint16(ip[10:], checksum(ip[:ipv4Len]))

	tcp := ip[ipv4Len:]
	binary.BigEndian.PutUint16(tcp[0:], s.from.Port())
	binary.BigEndian.PutUint16(tcp[2:], s.to.Port())
	binary.BigEndian.PutUint32(tcp[4:], s.seq)
	binary.BigEndian.PutUint32(tcp[8:], s.ack)
	tcp[12], tcp[13] = tcpLen/4<<4, s.flags
	binary.BigEndian.PutUint16(tcp[14:], 1024) // window
	// The sum is over the addresses, the protocol and the length, too.
	pseudo := append([]byte{0, unix.IPPROTO_TCP, 0, tcpLen}, ip[12:20]...)
	binary.BigEndian.PutUint16(tcp[16:], checksum(append(pseudo, tcp...)))
	return b
}

// parseFrame reads the segment in an Ethernet frame. Checksums are not looked
// at: on a veth pair, the kernel leaves them out.
func parseFrame(b []byte) (s segment, ok bool) {
	if len(b) < ethernetLen+ipv4Len || binary.BigEndian.Uint16(b[12:]) != protoIPv4 {
		return segment{}, false
	}
	ip := b[ethernetLen:]
	header := int(ip[0]&0x0f) * 4
	if ip[0]>>4 != 4 || header < ipv4Len || len(ip) < header+tcpLen || ip[9] != unix.IPPROTO_TCP {
		return segment{}, false
	}
	tcp := ip[header:]
	return segment{
		from:  netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:16])), binary.BigEndian.Uint16(tcp[0:])),
		to:    netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:20])), binary.BigEndian.Uint16(tcp[2:])),
		seq:   binary.BigEndian.Uint32(tcp[4:]),
		ack:   binary.BigEndian.Uint32(tcp[8:]),
		flags: tcp[13],
	}, true
}

// checksum is that of IPv4 and TCP, of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
