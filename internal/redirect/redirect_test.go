package redirect_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/internal/redirect"
	"github.com/podid-io/podid/test/localcluster"
)

// network is a node with two pods, and a metadata service in the fabric.
type network struct {
	node *localcluster.Node
	a, b *localcluster.Pod
}

func newNetwork(t *testing.T) network {
	t.Helper()
	localcluster.Require(t)
	cluster, err := localcluster.Start(t.Context(), localcluster.Config{
		Dir: t.TempDir(), Nodes: []localcluster.NodeConfig{{Name: "node"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	c, err := client.New(cluster.REST(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := network{node: cluster.Node("node")}
	for name, p := range map[string]**localcluster.Pod{"a": &n.a, "b": &n.b} {
		if err := c.Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.example/c:1"}}},
		}); err != nil {
			t.Fatal(err)
		}
		if *p, err = cluster.Pod(t.Context(), "default", name); err != nil {
			t.Fatal(err)
		}
	}
	serve(t, redirect.DefaultMetadata, "the metadata service of the node", func(f func() error) error { return f() })
	return n
}

// serve answers each connection to addr with a word, in the network that in
// runs a function in.
func serve(t *testing.T, addr netip.AddrPort, word string, in func(func() error) error) net.Listener {
	t.Helper()
	var l net.Listener
	if err := in(func() (err error) {
		var lc net.ListenConfig
		l, err = lc.Listen(t.Context(), "tcp4", addr.String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() { // ends when l is closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = fmt.Fprintf(c, "%s, to %s", word, c.RemoteAddr())
			_ = c.Close()
		}
	}()
	return l
}

// reach says who answers a connection from a pod, or how it failed.
func reach(t *testing.T, from *localcluster.Pod, addr string) string {
	t.Helper()
	return reachWithin(t, from, addr, answer)
}

// reachWithin is reach for what is expected to be dropped: "nobody".
func reachWithin(t *testing.T, from *localcluster.Pod, addr string, limit time.Duration) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	c, err := from.DialContext(ctx, "tcp4", addr)
	switch {
	case errors.Is(err, context.DeadlineExceeded) || os.IsTimeout(err):
		return "nobody"
	case err != nil:
		return "refused"
	}
	defer func() { _ = c.Close() }()
	host, _, _ := net.SplitHostPort(c.LocalAddr().String())
	b, err := io.ReadAll(c)
	if err != nil {
		return "reset"
	}
	if got := string(b); len(got) > 0 && !strings.Contains(got, "to "+host+":") {
		t.Errorf("%q does not see the pod's own address %s", got, host)
	}
	word, _, _ := strings.Cut(string(b), ",")
	return word
}

func TestRedirect(t *testing.T) {
	n := newNetwork(t)
	const metadata = "169.254.169.254:80"
	r, err := redirect.New(redirect.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if got := reach(t, n.a, metadata); got != "the metadata service of the node" {
		t.Fatalf("without a redirect %q answers: the test's network is not what it should be", got)
	}
	if err := n.node.Do(r.EnsureAddress); err != nil {
		t.Fatal(err)
	}
	agent := serve(t, redirect.DefaultListen, "nmi", n.node.Do)
	if err := n.node.Do(r.Ensure); err != nil {
		t.Fatal(err)
	}
	t.Run("pods reach nmi", func(t *testing.T) {
		for _, p := range []*localcluster.Pod{n.a, n.b} {
			if got := reach(t, p, metadata); got != "nmi" {
				t.Errorf("pod %s reaches %q, want nmi", p.Name, got)
			}
		}
	})
	t.Run("what is not redirected is dropped", func(t *testing.T) {
		if got := reachWithin(t, n.a, "169.254.169.254:8080", time.Second); got != "nobody" {
			t.Errorf("another port of the metadata address reaches %q, want nobody", got)
		}
	})
	t.Run("nmi's own address is refused", func(t *testing.T) {
		if got := reach(t, n.a, redirect.DefaultListen.String()); got != "refused" {
			t.Errorf("a connection around the redirect reaches %q, want a refusal", got)
		}
	})
	t.Run("a second Ensure changes nothing", func(t *testing.T) {
		if err := n.node.Do(r.Ensure); err != nil {
			t.Error(err)
		}
		if got := reach(t, n.a, metadata); got != "nmi" {
			t.Errorf("pod a reaches %q, want nmi", got)
		}
	})
	t.Run("Ensure mends what others flush", func(t *testing.T) {
		if err := n.node.Do(flushRules); err != nil {
			t.Fatal(err)
		}
		if got := reach(t, n.a, metadata); got != "the metadata service of the node" {
			t.Fatalf("with the rules flushed %q answers: the flush did nothing", got)
		}
		if err := n.node.Do(r.Ensure); err != nil {
			t.Fatal(err)
		}
		if got := reach(t, n.a, metadata); got != "nmi" {
			t.Errorf("pod a reaches %q, want nmi", got)
		}
	})
	t.Run("an agent that is down answers nobody", func(t *testing.T) {
		if err := agent.Close(); err != nil {
			t.Fatal(err)
		}
		if got := reach(t, n.a, metadata); got != "refused" {
			t.Errorf("pod a reaches %q, want a refusal: the metadata service of the node is not for pods", got)
		}
	})
	t.Run("Remove gives the address back", func(t *testing.T) {
		for range 2 { // also when there is nothing to remove
			if err := n.node.Do(r.Remove); err != nil {
				t.Fatal(err)
			}
		}
		if got := reach(t, n.a, metadata); got != "the metadata service of the node" {
			t.Errorf("pod a reaches %q", got)
		}
	})
}

// TestNeighbourCannotBorrowAnAddress has pod b take the address of pod a.
func TestNeighbourCannotBorrowAnAddress(t *testing.T) {
	n := newNetwork(t)
	r, err := redirect.New(redirect.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.node.Do(r.Ensure); err != nil {
		t.Fatal(err)
	}
	serve(t, redirect.DefaultListen, "nmi", n.node.Do)
	if err := n.node.Do(countArrivals); err != nil {
		t.Fatal(err)
	}
	if err := n.b.Do(func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.AddrAdd(eth0, &netlink.Addr{IPNet: netlink.NewIPNet(n.a.Addr.AsSlice())})
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var conn net.Conn
	err = n.b.Do(func() (err error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: n.a.Addr.AsSlice()}}
		conn, err = d.DialContext(ctx, "tcp4", "169.254.169.254:80")
		return err
	})
	if err == nil {
		_ = conn.Close()
		t.Error("pod b reached nmi with the address of pod a")
	}
	// Without the guard its packets would arrive, and the answers go to pod a.
	if got, _ := arrivals(t, n.node); got != 0 {
		t.Errorf("%d packets of pod b arrived with the address of pod a, want none", got)
	}
	if got := reach(t, n.a, "169.254.169.254:80"); got != "nmi" {
		t.Errorf("pod a reaches %q, want nmi", got)
	}
	if got, _ := arrivals(t, n.node); got == 0 {
		t.Error("the packets of pod a are not counted: the check above proves nothing")
	}
}

// firstEphemeral is the first port that Linux gives to a connection by itself.
const firstEphemeral = 32768

// countArrivals counts the packets to nmi's port that podid's rules let through,
// but the canary's, in a table of the test's own: first all, then those from a port
// that no connection has by itself.
func countArrivals() error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "test"})
	chain := conn.AddChain(&nftables.Chain{
		Name: "arrivals", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPrioritySecurity,
	})
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: append([]byte("podid-canary"), 0, 0, 0, 0)},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, redirect.DefaultListen.Port())},
		&expr.Counter{},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Len: 2},
		&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: binary.BigEndian.AppendUint16(nil, firstEphemeral)},
		&expr.Counter{},
	}})
	return conn.Flush()
}

// arrivals reads the counters of countArrivals.
func arrivals(t *testing.T, node *localcluster.Node) (all, forged uint64) {
	t.Helper()
	var packets []uint64
	if err := node.Do(func() error {
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: "test"}
		rules, err := conn.GetRules(table, &nftables.Chain{Name: "arrivals", Table: table})
		if err != nil {
			return err
		}
		for _, r := range rules {
			for _, e := range r.Exprs {
				if c, ok := e.(*expr.Counter); ok {
					packets = append(packets, c.Packets)
				}
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return packets[0], packets[1]
}

// TestBridgedPodsHaveNoLink puts an address behind a bridge, where one pod can
// take that of another.
func TestBridgedPodsHaveNoLink(t *testing.T) {
	n := newNetwork(t)
	var origins *redirect.Origins
	if err := n.node.Do(func() (err error) {
		if origins, err = redirect.NewOrigins(redirect.OriginsConfig{}); err != nil {
			return err
		}
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "cbr0"}}
		return errors.Join(
			netlink.LinkAdd(bridge),
			netlink.AddrAdd(bridge, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 9, 0, 1).To4(), Mask: net.CIDRMask(24, 32)}}),
			netlink.LinkSetUp(bridge),
		)
	}); err != nil {
		t.Fatal(err)
	}
	defer origins.Close()
	for what, addr := range map[string]string{
		"a pod on a bridge": "10.9.0.2", "the metadata service, by the uplink": "169.254.169.254", "a machine behind the uplink": "10.224.0.1", "nobody": "10.224.1.99",
	} {
		if link := origins.LinkOf(netip.MustParseAddr(addr)); link != 0 {
			t.Errorf("%s has the link %d, want none", what, link)
		}
	}
	if link := origins.LinkOf(n.a.Addr); link == 0 {
		t.Error("a pod on a link of its own has none")
	}
}

// TestOrigins asks the kernel about connections of two pods.
func TestOrigins(t *testing.T) {
	n := newNetwork(t)
	r, err := redirect.New(redirect.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var l net.Listener
	var origins *redirect.Origins
	if err := n.node.Do(func() (err error) {
		if err := r.Ensure(); err != nil {
			return err
		}
		if origins, err = redirect.NewOrigins(redirect.OriginsConfig{}); err != nil {
			return err
		}
		var lc net.ListenConfig
		l, err = lc.Listen(t.Context(), "tcp4", redirect.DefaultListen.String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer origins.Close()
	defer func() { _ = l.Close() }()
	seen := map[int]bool{}
	for _, p := range []*localcluster.Pod{n.a, n.b} {
		client, err := p.DialContext(t.Context(), "tcp4", "169.254.169.254:80")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = client.Close() }()
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		o, err := origins.Of(conn)
		if err != nil {
			t.Fatal(err)
		}
		if o.Source != p.Addr || o.Destination != redirect.DefaultMetadata || o.Interface == 0 || o.Interface != o.RouteBack {
			t.Errorf("origin of pod %s (%s): %+v", p.Name, p.Addr, o)
		}
		seen[o.Interface] = true
	}
	if len(seen) != 2 {
		t.Errorf("two pods came by %d interfaces, want 2", len(seen))
	}
}

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]redirect.Config{
		"an address of the loopback network": {Listen: netip.MustParseAddrPort("127.0.0.1:2579")},
		"an address of pods":                 {Listen: netip.MustParseAddrPort("10.0.0.1:2579")},
		"the metadata address itself":        {Listen: redirect.DefaultMetadata},
		"an IPv6 address":                    {Listen: netip.MustParseAddrPort("[fe80::1]:2579")},
		"no port":                            {Listen: netip.MustParseAddrPort("169.254.25.79:0")},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := redirect.New(c); err == nil {
				t.Errorf("New(%+v) succeeded", c)
			}
		})
	}
}

// flushRules takes the rules out of podid's chains, as a firewall script would.
func flushRules() error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	conn.FlushTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "podid"})
	return conn.Flush()
}
