package redirect

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// table is our table as the kernel tells it.
type table struct {
	// objects are our chains and rules, byte for byte: two readings are equal when
	// nobody has touched the table in between, since the kernel gives every rule a
	// handle of its own. (The nftables library cannot read a rule that it wrote
	// with a ct expression of one direction.)
	objects [][]byte
	mark    mark
	// rivals are the chains of others at the very place of our dnat chain. Of
	// equals the last comes first.
	rivals []string
}

// stands tells whether the table t, as it was written, is there now, and before
// those that came later.
func (t table) stands(now table) bool {
	if t.objects == nil || !slices.EqualFunc(t.objects, now.objects, bytes.Equal) {
		return false
	}
	return !slices.ContainsFunc(now.rivals, func(r string) bool { return !slices.Contains(t.rivals, r) })
}

// nfgenLen is the length of the header of every nftables message: family,
// version, and the generation of the ruleset, which is not ours alone.
const nfgenLen = 4

// readTable asks the kernel for our table.
func readTable() (table, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return table{}, fmt.Errorf("open a netlink socket to nftables: %w", err)
	}
	defer func() { _ = conn.Close() }() // nothing was written
	var t table
	// All chains, for rivals, and of the rules, of which a node can have tens of
	// thousands, our own alone.
	ours, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NFTA_RULE_TABLE, Data: append([]byte(tableName), 0)}})
	if err != nil {
		return table{}, fmt.Errorf("ask for nftables: %w", err)
	}
	for _, ask := range []struct {
		what uint16
		data []byte
	}{
		{unix.NFT_MSG_GETCHAIN, []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0}},
		{unix.NFT_MSG_GETRULE, append([]byte{unix.AF_INET, unix.NFNETLINK_V0, 0, 0}, ours...)},
	} {
		answers, err := conn.Execute(netlink.Message{
			Header: netlink.Header{
				Type:  netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | ask.what),
				Flags: netlink.Request | netlink.Dump,
			},
			Data: ask.data,
		})
		if err != nil {
			return table{}, fmt.Errorf("read nftables: %w", err)
		}
		for _, m := range answers {
			if err := t.add(m.Data, ask.what == unix.NFT_MSG_GETCHAIN); err != nil {
				return table{}, fmt.Errorf("read nftables: %w", err)
			}
		}
	}
	return t, nil
}

// add takes from a chain or a rule what concerns us.
func (t *table) add(data []byte, isChain bool) error {
	if len(data) < nfgenLen {
		return errors.New("a message is too short")
	}
	o, err := parseObject(data[nfgenLen:], isChain)
	switch {
	case err != nil:
		return err
	case data[0] == unix.AF_INET && o.table == tableName:
		t.objects = append(t.objects, data[nfgenLen:])
		if m, ok := parseMark(o.comment); ok {
			t.mark = m
		}
	case isChain && o.kind == "nat" && o.hook == unix.NF_INET_PRE_ROUTING && o.priority == int32(dnatPriority):
		t.rivals = append(t.rivals, fmt.Sprintf("%d %s %d", data[0], o.table, o.handle))
	}
	return nil
}

// object is what we look at in a chain or a rule. All but the table are of one of
// the two alone.
type object struct {
	table    string
	comment  []byte // user data of a rule
	kind     string // of a chain, like all that follow
	handle   uint64
	hook     uint32
	priority int32
}

func parseObject(attributes []byte, isChain bool) (object, error) {
	o := object{hook: ^uint32(0)}
	d, err := netlink.NewAttributeDecoder(attributes)
	if err != nil {
		return o, err
	}
	d.ByteOrder = binary.BigEndian
	for d.Next() {
		switch {
		case d.Type() == unix.NFTA_CHAIN_TABLE: // and NFTA_RULE_TABLE
			o.table = d.String()
		case !isChain && d.Type() == unix.NFTA_RULE_USERDATA:
			o.comment = d.Bytes()
		case isChain && d.Type() == unix.NFTA_CHAIN_TYPE:
			o.kind = d.String()
		case isChain && d.Type() == unix.NFTA_CHAIN_HANDLE:
			o.handle = d.Uint64()
		case isChain && d.Type() == unix.NFTA_CHAIN_HOOK:
			d.Nested(o.parseHook)
		}
	}
	return o, d.Err()
}

func (o *object) parseHook(d *netlink.AttributeDecoder) error {
	for d.Next() {
		switch d.Type() {
		case unix.NFTA_HOOK_HOOKNUM:
			o.hook = d.Uint32()
		case unix.NFTA_HOOK_PRIORITY:
			o.priority = d.Int32()
		}
	}
	return nil // the decoder's own error is its parent's
}
