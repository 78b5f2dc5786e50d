package redirect

import (
	"net/netip"
	"testing"

	"github.com/mdlayher/netlink"
)

// FuzzParse gives the parsers bytes that no kernel wrote. Frames are what a pod
// can write; the others must not fall over either.
func FuzzParse(f *testing.F) {
	local, remote := netip.MustParseAddrPort("127.0.0.1:2579"), netip.MustParseAddrPort("127.0.0.1:40000")
	f.Add(byte(0), (&canaryVeth{}).frame(segment{from: local, to: remote, seq: 1, flags: flagSYN}))
	f.Add(byte(1), mark{generation: 1, listen: DefaultListen}.comment())
	f.Add(byte(2), make([]byte, answerLen))
	f.Add(byte(3), []byte{0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 3, 0, 'l', 'o', 0, 0})
	f.Add(byte(4), []byte{8, 0, 1, 0, 'p', 'o', 'd', 0})
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		switch which % 6 {
		case 0:
			if s, ok := parseFrame(data); ok && (!s.from.IsValid() || !s.to.IsValid()) {
				t.Errorf("a segment from %s to %s", s.from, s.to)
			}
		case 1:
			if m, ok := parseMark(data); ok {
				if got, again := parseMark(m.comment()); !again || got != m {
					t.Errorf("%+v is read, and written as %+v", m, got)
				}
			}
		case 2:
			if _, err := parseSocket(data, local, remote); err == nil && len(data) < answerLen {
				t.Errorf("an answer of %d bytes is read", len(data))
			}
		case 3:
			if index, _, ok := parseLink(netlink.Message{Data: data}); ok && len(data) < 16 {
				t.Errorf("link %d is read from %d bytes", index, len(data))
			}
		default:
			_, _ = parseObject(data, which%6 == 4) // it must come back
		}
	})
}
