package redirect

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// nfgenLen is the length of the header of every nftables message: family,
// version, and the generation of the ruleset, which is not ours alone.
const nfgenLen = 4

// The attribute that holds the name of the table, in chains and rules alike.
const attrTable = 1

// read returns our chains and rules as the kernel tells them, byte for byte:
// two readings are equal when nobody has touched the table in between, since
// the kernel gives every rule a handle of its own. (The nftables library
// cannot read a rule that it wrote with a ct expression of one direction.)
func read() ([][]byte, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket to nftables: %w", err)
	}
	defer func() { _ = conn.Close() }() // nothing was written
	var out [][]byte
	for _, what := range []uint16{unix.NFT_MSG_GETCHAIN, unix.NFT_MSG_GETRULE} {
		answers, err := conn.Execute(netlink.Message{
			Header: netlink.Header{
				Type:  netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | what),
				Flags: netlink.Request | netlink.Dump,
			},
			Data: []byte{unix.AF_INET, unix.NFNETLINK_V0, 0, 0},
		})
		if err != nil {
			return nil, fmt.Errorf("read nftables: %w", err)
		}
		for _, m := range answers {
			ours, err := inTable(m.Data)
			if err != nil {
				return nil, fmt.Errorf("read nftables: %w", err)
			}
			if ours {
				out = append(out, m.Data[nfgenLen:])
			}
		}
	}
	return out, nil
}

// inTable reports whether a chain or a rule belongs to our table.
func inTable(data []byte) (bool, error) {
	if len(data) < nfgenLen {
		return false, errors.New("a message is too short")
	}
	d, err := netlink.NewAttributeDecoder(data[nfgenLen:])
	if err != nil {
		return false, err
	}
	for d.Next() {
		if d.Type() == attrTable {
			return d.String() == tableName, nil
		}
	}
	return false, d.Err()
}
