package redirect

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// tableName is the one nftables table that is podid's.
const tableName = "podid"

// dnatPriority comes before every other table's dstnat (-100), so that the
// rules of kube-proxy and of CNIs never see the packet.
const dnatPriority nftables.ChainPriority = -110

// chain is one of our chains and its rules, in order.
type chain struct {
	name     string
	kind     nftables.ChainType
	hook     *nftables.ChainHook
	priority nftables.ChainPriority
	rules    [][]expr.Any
}

// chains is the whole table, as nft would print it:
//
//	chain guard   { type filter hook prerouting priority raw;  ip daddr META fib saddr . iif oif missing drop }
//	chain dnat    { type nat    hook prerouting priority -110; ip daddr META tcp dport 80 dnat to LISTEN }
//	chain input   { type filter hook input      priority 0;    LISTEN: ct original ip daddr META accept; reject with tcp reset }
//	chain forward { type filter hook forward    priority 0;    ip daddr META drop }
func chains(metadata, listen netip.AddrPort) []chain {
	toMetadata := daddr(metadata.Addr())
	toListener := join(daddr(listen.Addr()), tcpPort(listen.Port()))
	return []chain{
		{
			name: "guard", kind: nftables.ChainTypeFilter,
			hook: nftables.ChainHookPrerouting, priority: *nftables.ChainPriorityRaw,
			rules: [][]expr.Any{join(toMetadata, noWayBack(), verdict(expr.VerdictDrop))},
		},
		{
			name: "dnat", kind: nftables.ChainTypeNAT,
			hook: nftables.ChainHookPrerouting, priority: dnatPriority,
			rules: [][]expr.Any{join(toMetadata, tcpPort(metadata.Port()), dnat(listen))},
		},
		{
			name: "input", kind: nftables.ChainTypeFilter,
			hook: nftables.ChainHookInput, priority: *nftables.ChainPriorityFilter,
			rules: [][]expr.Any{
				join(toListener, originalDaddr(metadata.Addr()), verdict(expr.VerdictAccept)),
				join(toListener, reset()),
			},
		},
		{
			name: "forward", kind: nftables.ChainTypeFilter,
			hook: nftables.ChainHookForward, priority: *nftables.ChainPriorityFilter,
			rules: [][]expr.Any{join(toMetadata, verdict(expr.VerdictDrop))},
		},
	}
}

// objects is how many chains and rules the table has.
func objects(metadata, listen netip.AddrPort) int {
	n := 0
	for _, c := range chains(metadata, listen) {
		n += 1 + len(c.rules)
	}
	return n
}

func join(parts ...[]expr.Any) []expr.Any {
	var out []expr.Any
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func equal(data []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data}
}

// daddr matches the destination address of the IPv4 header.
func daddr(a netip.Addr) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		equal(a.AsSlice()),
	}
}

// tcpPort matches TCP and its destination port.
func tcpPort(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		equal([]byte{unix.IPPROTO_TCP}),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		equal(binaryutil.BigEndian.PutUint16(port)),
	}
}

// noWayBack matches packets whose source is not routed back to the interface
// that they came in by: a strict reverse path check.
func noWayBack() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, ResultOIF: true, FlagSADDR: true, FlagIIF: true},
		equal([]byte{0, 0, 0, 0}),
	}
}

// originalDaddr matches connections that were made to a.
func originalDaddr(a netip.Addr) []expr.Any {
	return []expr.Any{
		&expr.Ct{Register: 1, Key: expr.CtKeyDST, Direction: 0},
		equal(a.AsSlice()),
	}
}

func dnat(to netip.AddrPort) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: to.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(to.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2, Specified: true},
	}
}

func reset() []expr.Any {
	return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}
}

func verdict(k expr.VerdictKind) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: k}}
}
