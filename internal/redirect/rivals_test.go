package redirect_test

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/podid-io/podid/internal/redirect"
)

// serveRepeat has a program repeat lines at an address, in the network that in
// runs a function in.
func serveRepeat(t *testing.T, name, address string, in func(func() error) error) {
	t.Helper()
	var l net.Listener
	if err := in(func() (err error) {
		l, err = net.Listen("tcp4", address)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go repeat(l, name) // ends when l is closed
}

// rivalTable redirects the metadata address elsewhere, from the very place of
// our chain.
func rivalTable(name string, to netip.AddrPort) func() error {
	return func() error {
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: name})
		chain := conn.AddChain(&nftables.Chain{
			Name: "steal", Table: table, Type: nftables.ChainTypeNAT,
			Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRef(-199),
		})
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: redirect.DefaultMetadata.Addr().AsSlice()},
			&expr.Immediate{Register: 1, Data: to.Addr().AsSlice()},
			&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(to.Port())},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2, Specified: true},
		}})
		return conn.Flush()
	}
}

// incumbent is the chain of AAD Pod Identity.
var incumbent = [][]string{
	{"-N", "aad-metadata"},
	{"-A", "aad-metadata", "!", "-s", "127.0.0.1/32", "-d", "169.254.169.254/32", "-p", "tcp", "-m", "tcp", "--dport", "80", "-j", "DNAT", "--to-destination", "127.0.0.1:2579"},
	{"-A", "aad-metadata", "-j", "RETURN"},
	{"-I", "PREROUTING", "1", "-j", "aad-metadata"},
}

func TestRulesOfOthers(t *testing.T) {
	n := newNetwork(t)
	iptables := func(t *testing.T, program string, args ...string) {
		t.Helper()
		if out, err := n.node.Command(t.Context(), program, append([]string{"-w", "-t", "nat"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("%s %q: %v: %s (install the package iptables)", program, args, err, out)
		}
	}
	if err := n.node.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/conf/all/route_localnet", []byte("1"), 0o600)
	}); err != nil {
		t.Fatal(err)
	}
	serveRepeat(t, "incumbent", "127.0.0.1:2579", n.node.Do)
	serveRepeat(t, "rival", n.node.Addr.String()+":9999", n.node.Do)
	serveRepeat(t, "imds", "169.254.169.254:81", func(f func() error) error { return f() })

	for _, program := range []string{"iptables-nft", "iptables-legacy"} {
		for _, args := range incumbent {
			iptables(t, program, args...)
		}
		if got := whoAnswers(t, n.a, answer); got != "incumbent" {
			t.Fatalf("with its chain by %s, %q answers, want the incumbent: the test's rules are not what they should be", program, got)
		}
	}
	old, err := dialAgent(t.Context(), n.a)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = old.conn.Close() }()
	direct, err := n.b.DialContext(t.Context(), "tcp4", "169.254.169.254:81")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = direct.Close() }()

	a := startAgent(t, n.node, "nmi")
	a.tell("run")
	a.await("canary <nil>")
	t.Run("podid comes before the incumbent", func(t *testing.T) {
		if got := whoAnswers(t, n.a, answer); got != "nmi" {
			t.Errorf("%q answers", got)
		}
	})
	t.Run("what was connected before cannot go on", func(t *testing.T) {
		if who, err := old.askFor(3*time.Second, "still there?"); err == nil {
			t.Errorf("%q answers a connection from before the rules", who)
		}
		if who, err := newTalk(direct).askFor(3*time.Second, "still there?"); err == nil {
			t.Errorf("%q answers a connection to the metadata service from before the rules", who)
		}
	})
	t.Run("the incumbent comes again", func(t *testing.T) {
		for _, program := range []string{"iptables-nft", "iptables-legacy"} {
			iptables(t, program, "-D", "PREROUTING", "-j", "aad-metadata")
			iptables(t, program, incumbent[3]...)
			if got := whoAnswers(t, n.a, answer); got != "nmi" {
				t.Errorf("%q answers after %s", got, program)
			}
		}
	})
	t.Run("a rival at the same place is dropped, and then overtaken", func(t *testing.T) {
		if err := n.node.Do(rivalTable("rival", netip.AddrPortFrom(n.node.Addr, 9999))); err != nil {
			t.Fatal(err)
		}
		if got := whoAnswers(t, n.a, 300*time.Millisecond); got != "nmi" && got != "nobody" {
			t.Errorf("%q answers right after", got)
		}
		a.forget()
		a.awaitCanary()
		if got := whoAnswers(t, n.a, answer); got != "nmi" {
			t.Errorf("%q answers", got)
		}
	})
	t.Run("everything flushed is mended", func(t *testing.T) {
		if err := n.node.Do(func() error {
			conn, err := nftables.New()
			if err != nil {
				return err
			}
			conn.FlushRuleset()
			return conn.Flush()
		}); err != nil {
			t.Fatal(err)
		}
		a.forget()
		a.awaitCanary()
		if got := whoAnswers(t, n.a, answer); got != "nmi" {
			t.Errorf("%q answers", got)
		}
	})
	t.Run("the node itself reaches the metadata service", func(t *testing.T) {
		c, err := n.node.DialContext(t.Context(), "tcp4", "169.254.169.254:81")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if who, err := newTalk(c).ask("hello"); err != nil || who != "imds" {
			t.Errorf("%q answers the node (%v)", who, err)
		}
	})
}
