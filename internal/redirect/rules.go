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

// dnatPriority is the first place for a nat chain that the kernel has, before
// every other table's dstnat (-100), so that the rules of kube-proxy and of CNIs
// never see the packet.
const dnatPriority nftables.ChainPriority = -199

// chain is one of our chains and its rules, in order.
type chain struct {
	name     string
	kind     nftables.ChainType
	hook     *nftables.ChainHook
	priority nftables.ChainPriority
	rules    [][]expr.Any
}

// chains is the whole table, as nft would print it. LISTEN is an address of
// podid's own, on which two agents may have a port each. What is not our own
// connection to it is refused, and what another table sent elsewhere is dropped:
// only the node itself may reach the metadata service.
//
//	chain guard   { type filter hook prerouting priority raw;  ip daddr META fib saddr . iif oif missing drop }
//	chain dnat    { type nat    hook prerouting priority -199; ip daddr META tcp dport 80 dnat to LISTEN:PORT }
//	chain input   { type filter hook input      priority 0;
//	    ip daddr LISTEN meta l4proto tcp ct original ip daddr META accept
//	    ip daddr LISTEN meta l4proto tcp iiftype loopback tcp flags & rst == rst accept
//	    ip daddr LISTEN meta l4proto tcp reject with tcp reset
//	    ip daddr LISTEN drop
//	    iiftype != loopback ct direction original ct original ip daddr META drop
//	}
//	chain forward { type filter hook forward    priority 0;    ip daddr META drop; ct original ip daddr META drop }
//
// In the table of an agent that has yielded, the dnat chain drops.
func chains(metadata netip.AddrPort, m mark) []chain {
	toMetadata, toListener := daddr(metadata.Addr()), daddr(m.listen.Addr())
	wasToMetadata := originalDaddr(metadata.Addr())
	fate := dnat(m.listen)
	if m.yielded {
		fate = verdict(expr.VerdictDrop)
	}
	return []chain{
		{
			name: "guard", kind: nftables.ChainTypeFilter,
			hook: nftables.ChainHookPrerouting, priority: *nftables.ChainPriorityRaw,
			rules: [][]expr.Any{join(toMetadata, noWayBack(), verdict(expr.VerdictDrop))},
		},
		{
			name: "dnat", kind: nftables.ChainTypeNAT,
			hook: nftables.ChainHookPrerouting, priority: dnatPriority,
			rules: [][]expr.Any{join(toMetadata, tcp(), tcpPort(metadata.Port()), fate)},
		},
		{
			name: "input", kind: nftables.ChainTypeFilter,
			hook: nftables.ChainHookInput, priority: *nftables.ChainPriorityFilter,
			rules: [][]expr.Any{
				join(toListener, tcp(), wasToMetadata, verdict(expr.VerdictAccept)),
				join(toListener, tcp(), iifType(expr.CmpOpEq), rst(), verdict(expr.VerdictAccept)), // what the next rule sends
				join(toListener, tcp(), reset()),
				join(toListener, verdict(expr.VerdictDrop)),
				join(iifType(expr.CmpOpNeq), firstWay(), wasToMetadata, verdict(expr.VerdictDrop)),
			},
		},
		{
			name: "forward", kind: nftables.ChainTypeFilter,
			hook: nftables.ChainHookForward, priority: *nftables.ChainPriorityFilter,
			rules: [][]expr.Any{
				join(toMetadata, verdict(expr.VerdictDrop)),
				join(wasToMetadata, verdict(expr.VerdictDrop)),
			},
		},
	}
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

// tcp matches TCP.
func tcp() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		equal([]byte{unix.IPPROTO_TCP}),
	}
}

// tcpPort matches the destination port of what is TCP.
func tcpPort(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		equal(binaryutil.BigEndian.PutUint16(port)),
	}
}

// iifType matches what came by the loopback interface, or did not.
func iifType(op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFTYPE, Register: 1},
		&expr.Cmp{Op: op, Register: 1, Data: binaryutil.NativeEndian.PutUint16(unix.ARPHRD_LOOPBACK)},
	}
}

// rst matches TCP segments that end a connection at once.
func rst() []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{flagRST}, Xor: []byte{0}},
		equal([]byte{flagRST}),
	}
}

// firstWay matches packets from who began the connection to the other side; the
// node's own connections to the metadata service are answered on the other way.
func firstWay() []expr.Any {
	return []expr.Any{
		&expr.Ct{Register: 1, Key: expr.CtKeyDIRECTION},
		equal([]byte{0}),
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
