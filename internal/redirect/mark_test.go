package redirect

import (
	"net/netip"
	"testing"

	"github.com/google/nftables/userdata"
)

func TestMarks(t *testing.T) {
	for _, m := range []mark{
		{generation: 1, listen: netip.MustParseAddrPort("169.254.25.79:2579")},
		{generation: 1_795_000_000_000_000_000, listen: netip.MustParseAddrPort("169.254.25.79:2599"), yielded: true},
	} {
		if got, ok := parseMark(m.comment()); !ok || got != m {
			t.Errorf("%+v is read as %+v, %t", m, got, ok)
		}
	}
}

func TestWhatIsNoMark(t *testing.T) {
	text := func(s string) []byte { return userdata.AppendString(nil, userdata.TypeComment, s) }
	whole := mark{generation: 1, listen: DefaultListen}.comment()
	for name, data := range map[string][]byte{
		"nothing":                    nil,
		"a type alone":               {0},
		"a length that is too long":  {0, 200, 'p'},
		"a comment that was cut":     whole[:len(whole)-3],
		"another type":               append([]byte{1}, whole[1:]...),
		"somebody's words":           text("podid is here"),
		"no generation":              text("podid: agent 0 at 169.254.25.79:2579, serves"),
		"a generation without room":  text("podid: agent 9223372036854775807 at 169.254.25.79:2579, serves"),
		"a generation too large":     text("podid: agent 99223372036854775807 at 169.254.25.79:2579, serves"),
		"a negative generation":      text("podid: agent -5 at 169.254.25.79:2579, serves"),
		"no address":                 text("podid: agent 5 at nowhere, serves"),
		"an address without a comma": text("podid: agent 5 at 169.254.25.79:2579 serves"),
		"an unknown state":           text("podid: agent 5 at 169.254.25.79:2579, rests"),
	} {
		t.Run(name, func(t *testing.T) {
			if m, ok := parseMark(data); ok {
				t.Errorf("read as %+v", m)
			}
		})
	}
}
