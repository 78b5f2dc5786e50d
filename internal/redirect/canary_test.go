package redirect_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"

	"github.com/podid-io/podid/internal/redirect"
	"github.com/podid-io/podid/test/leaks"
	"github.com/podid-io/podid/test/localcluster"
)

// TestTheCanaryDies puts what stops pods in front of the agent, and sees that the
// canary tells.
func TestTheCanaryDies(t *testing.T) {
	n := newNetwork(t)
	serveRepeat(t, "rival", n.node.Addr.String()+":9999", n.node.Do)
	a := startAgent(t, n.node, "nmi")
	a.tell("run")
	a.await("canary <nil>")
	t.Run("a firewall drops", func(t *testing.T) {
		if err := n.node.Do(dropAll); err != nil {
			t.Fatal(err)
		}
		a.forget()
		a.await("canary a canary sent to 169.254.169.254:80 did not arrive at this agent: nobody answers")
		if err := n.node.Do(undrop); err != nil {
			t.Fatal(err)
		}
		a.forget()
		a.await("canary <nil>")
	})
	t.Run("somebody took its veth pair away", func(t *testing.T) {
		if err := n.node.Do(func() error { return deleteLink(t, "podid-canary") }); err != nil {
			t.Fatal(err)
		}
		a.forget()
		a.await("canary <nil>")
	})
	t.Run("nobody accepts", func(*testing.T) {
		a.tell("deafen")
		a.forget()
		a.await("canary a canary sent to 169.254.169.254:80 did not arrive at this agent: the connection was refused")
	})
	a.stop()
	if err := n.node.Do(func() error {
		if _, err := net.InterfaceByName("podid-canary"); err == nil {
			return errors.New("the canary's veth pair is left")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// TestWithoutTheRightToSendRaw runs an agent that lacks CAP_NET_RAW: it serves,
// and says what its canary lacks.
func TestWithoutTheRightToSendRaw(t *testing.T) {
	n := newNetwork(t)
	a := startAgent(t, n.node, "nmi", "setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw")
	a.tell("run")
	if got, want := a.await("canary"), "canary canary: open a packet socket (CAP_NET_RAW is needed): operation not permitted"; got != want {
		t.Errorf("the agent says %q, want %q", got, want)
	}
	if got := whoAnswers(t, n.a, answer); got != "nmi" {
		t.Errorf("%q answers", got)
	}
}

// TestRunLeavesNothing runs the redirect in the test's own network.
func TestRunLeavesNothing(t *testing.T) {
	localcluster.Require(t)
	left := leaks.Mark()
	canaries := make(chan error, 10)
	r, err := redirect.New(redirect.Config{
		Interval: time.Second, ReportCanary: func(err error) { canaries <- err }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := r.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	accepting, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := l.Accept() // keeps the canary to itself, so that nothing comes
		accepting <- err
	}()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { ended <- r.Run(ctx) }()
	if err := <-canaries; err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-accepting; !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener ended with %v", err)
	}
	if err := left(); err != nil {
		t.Error(err)
	}
	if _, err := net.InterfaceByName("podid-canary"); err == nil {
		t.Error("the canary's veth pair is left")
	}
	if err := r.Remove(); err != nil {
		t.Error(err)
	}
}

// dropAll drops what goes to the agent's address.
func dropAll() error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "firewall"})
	chain := conn.AddChain(&nftables.Chain{
		Name: "drop", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFirst,
	})
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: redirect.DefaultListen.Addr().AsSlice()},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}})
	return conn.Flush()
}

func undrop() error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	conn.DelTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "firewall"})
	return conn.Flush()
}

func deleteLink(t *testing.T, name string) error {
	t.Helper()
	return netlink.LinkDel(linkByName(t, name))
}
