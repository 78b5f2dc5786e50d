package redirect

import (
	"fmt"
	"math"
	"net/netip"

	"github.com/google/nftables/userdata"
)

// mark says which agent wrote the table, in a comment of each rule.
type mark struct {
	// generation orders the agents of a node: the time of the first write, in
	// nanoseconds, or more where the one before has a later one.
	generation int64
	// listen is where the agent listens.
	listen netip.AddrPort
	// yielded means that the agent has stopped and left no other.
	yielded bool
}

const (
	markFormat  = "podid: agent %d at %s, %s"
	markServes  = "serves"
	markYielded = "stopped"
)

// comment is the mark as the user data of a rule, which nft prints.
func (m mark) comment() []byte {
	state := markServes
	if m.yielded {
		state = markYielded
	}
	return userdata.AppendString(nil, userdata.TypeComment, fmt.Sprintf(markFormat, m.generation, m.listen, state))
}

// parseMark reads a comment that an agent wrote.
func parseMark(data []byte) (m mark, ok bool) {
	if len(data) < 3 || data[0] != byte(userdata.TypeComment) || int(data[1]) != len(data)-2 {
		return mark{}, false
	}
	text := string(data[2 : len(data)-1]) // without the NUL
	var listen, state string
	if _, err := fmt.Sscanf(text, "podid: agent %d at %s %s", &m.generation, &listen, &state); err != nil {
		return mark{}, false
	}
	if len(listen) == 0 || listen[len(listen)-1] != ',' {
		return mark{}, false
	}
	var err error
	m.listen, err = netip.ParseAddrPort(listen[:len(listen)-1])
	m.yielded = state == markYielded
	// A generation must leave room for the next.
	ok = err == nil && m.generation > 0 && m.generation < math.MaxInt64 && (m.yielded || state == markServes)
	if !ok {
		return mark{}, false
	}
	return m, true
}
