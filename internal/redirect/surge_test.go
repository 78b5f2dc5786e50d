package redirect_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/podid-io/podid/internal/redirect"
	"github.com/podid-io/podid/test/localcluster"
)

// failure is a connection that failed, and when.
type failure struct {
	began, ended time.Time
	err          error
}

// load is a pod that asks over new connections, one after the other. stop ends it,
// and tells how many answers each agent gave and what else happened.
type load struct {
	stop  func() (answers map[string]int, failed []failure)
	began chan time.Time // when the newest connection began
}

// flood has a pod ask until it is stopped.
func flood(t *testing.T, p *localcluster.Pod) load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	answers, newest := make(map[string]int), make(chan time.Time, 1)
	var failed []failure
	var asking sync.WaitGroup
	asking.Go(func() {
		for ctx.Err() == nil {
			began := time.Now()
			select {
			case <-newest:
			default:
			}
			newest <- began // nobody else sends
			c, err := dialAgent(ctx, p)
			if err != nil {
				if ctx.Err() == nil {
					failed = append(failed, failure{began, time.Now(), err})
				}
				continue
			}
			who, err := c.ask("hello")
			_ = c.conn.Close()
			if err != nil {
				failed = append(failed, failure{began, time.Now(), err})
				continue
			}
			answers[who]++
		}
	})
	return load{began: newest, stop: func() (map[string]int, []failure) {
		cancel()
		asking.Wait()
		return answers, failed
	}}
}

func TestOneAgentReplacesAnother(t *testing.T) {
	n := newNetwork(t)
	old := startAgent(t, n.node, "old")
	old.tell("run")
	old.await("canary <nil>")
	held, err := dialAgent(t.Context(), n.a)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.conn.Close() }()
	if who, err := held.ask("before"); err != nil || who != "old" {
		t.Fatalf("%q answers (%v)", who, err)
	}
	pod := flood(t, n.b)
	young := startAgent(t, n.node, "young")
	for a, want := range map[*agent]string{
		old: "listens at 169.254.25.79:2579, served false <nil>", young: "listens at 169.254.25.79:2580, served true <nil>",
	} {
		if a.born != want {
			t.Errorf("the agent %q, want %q", a.born, want)
		}
	}
	if got := whoAnswers(t, n.a, answer); got != "old" {
		t.Errorf("%q answers while the new agent is not ready, want the old one", got)
	}
	young.tell("run")
	young.await("canary <nil>")
	old.await("report a newer agent has the redirect")
	if got := whoAnswers(t, n.a, answer); got != "young" {
		t.Errorf("%q answers, want the new agent", got)
	}
	if who, err := held.ask("after"); err != nil || who != "old" {
		t.Errorf("a connection from before is answered by %q (%v), want the old agent", who, err)
	}
	t.Run("both ports are refused to others", func(t *testing.T) {
		for _, addr := range []string{"169.254.25.79:2579", "169.254.25.79:2580", "169.254.25.79:22"} {
			if got := reach(t, n.a, addr); got != "refused" {
				t.Errorf("a pod reaches %q at %s", got, addr)
			}
			ctx, cancel := context.WithTimeout(t.Context(), answer)
			defer cancel()
			if _, err := n.node.DialContext(ctx, "tcp4", addr); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("a program of the node reaches %s: %v", addr, err)
			}
		}
	})
	flushed, mended := time.Now(), time.Time{}
	t.Run("the old one mends nothing, the new one does", func(t *testing.T) {
		if err := n.node.Do(flushRules); err != nil {
			t.Fatal(err)
		}
		young.forget()
		young.awaitCanary()
		if got := whoAnswers(t, n.a, answer); got != "young" {
			t.Errorf("%q answers, want the new agent", got)
		}
		mended = time.Now()
	})
	old.tell("yield")
	if got := old.await("yield"); got != "yield <nil>" {
		t.Error(got)
	}
	old.stop()
	if got := whoAnswers(t, n.a, answer); got != "young" {
		t.Errorf("%q answers when the old agent is gone, want the new one", got)
	}
	answers, failed := pod.stop()
	if answers["old"] == 0 || answers["young"] == 0 {
		t.Errorf("answers were %v, want some of each", answers)
	}
	// What somebody flushed in between is not the upgrade's fault.
	for _, f := range failed {
		if f.began.After(mended) || f.ended.Before(flushed) {
			t.Errorf("a connection failed %s after the flush: %v", f.began.Sub(flushed), f.err)
		}
	}
	t.Logf("answers %v, lost to the flush %d", answers, len(failed))
}

// TestUpgradesRefuseNobody replaces agents one after the other under load, some
// by surge and some with a gap.
func TestUpgradesRefuseNobody(t *testing.T) {
	n := newNetwork(t)
	present := startAgent(t, n.node, "agent0")
	present.tell("run")
	present.await("report <nil>")
	pods := []load{flood(t, n.a), flood(t, n.b)}
	for i := range 6 {
		name := "agent" + string(rune('1'+i))
		if i%2 == 0 { // by surge
			next := startAgent(t, n.node, name)
			next.tell("run")
			next.await("report <nil>")
			present.await("report a newer agent has the redirect")
			present.tell("yield")
			present.await("yield <nil>")
			drain(present, pods, followed)
			present = next
			continue
		}
		present.tell("yield")
		present.await("yield <nil>")
		drain(present, pods, alone)
		if got := whoAnswers(t, n.a, 300*time.Millisecond); got != "nobody" {
			t.Errorf("%q answers while there is no agent, want nobody", got)
		}
		present = startAgent(t, n.node, name)
		if !strings.HasSuffix(present.born, "served false <nil>") {
			t.Errorf("the agent %q after one that yielded", present.born)
		}
		present.tell("run")
		present.await("report <nil>")
	}
	for _, pod := range pods {
		answers, failed := pod.stop()
		if len(failed) > 0 {
			t.Errorf("%d connections failed, the first with %v", len(failed), failed[0].err)
		}
		if len(answers) < 4 {
			t.Errorf("answers were %v: the agents did not take turns", answers)
		}
		t.Logf("answers: %v", answers)
	}
}

// How long an agent that has yielded answers what was on its way, at most. Where
// another follows it at once nothing is dropped, and each pod comes to ask again
// sooner or later. Where none does, a connection whose first packet came too late
// waits for the next agent, which comes only then.
const (
	followed = time.Minute
	alone    = 20 * time.Second
)

// drain gives the agent the time to answer what was on its way, up to limit: until
// each pod has begun another connection, which goes elsewhere. It closes its listener
// and ends it then, as nmi does.
func drain(a *agent, pods []load, limit time.Duration) {
	a.t.Helper()
	yielded := time.Now()
	ctx, cancel := context.WithTimeout(a.t.Context(), limit)
	defer cancel()
	for _, pod := range pods {
		for again := false; !again; {
			select {
			case began := <-pod.began:
				again = began.After(yielded)
			case <-ctx.Done():
				again = true
			}
		}
	}
	a.tell("deafen")
	a.await("deafen <nil>")
	a.stop()
}

func TestTheOldAgentTakesOverFromADeadOne(t *testing.T) {
	n := newNetwork(t)
	old := startAgent(t, n.node, "old")
	old.tell("run")
	old.await("report <nil>")
	t.Run("that was killed", func(t *testing.T) {
		young := startAgent(t, n.node, "young")
		young.tell("run")
		young.await("report <nil>")
		old.await("report a newer agent has the redirect")
		young.kill()
		if got := whoAnswers(t, n.a, answer); got != "refused" && got != "old" {
			t.Errorf("%q answers right after, want a refusal or the old agent", got)
		}
		old.await("report <nil>")
		if got := whoAnswers(t, n.a, answer); got != "old" {
			t.Errorf("%q answers, want the old agent", got)
		}
	})
	t.Run("that yielded", func(t *testing.T) {
		young := startAgent(t, n.node, "young")
		young.tell("run")
		young.await("report <nil>")
		old.await("report a newer agent has the redirect")
		young.tell("yield")
		young.await("yield <nil>")
		old.await("report <nil>")
		if got := whoAnswers(t, n.a, answer); got != "old" {
			t.Errorf("%q answers, want the old agent", got)
		}
	})
	t.Run("but not from a live one", func(t *testing.T) {
		young := startAgent(t, n.node, "young")
		young.tell("run")
		young.await("report <nil>")
		for range 3 {
			if err := n.node.Do(deleteTable); err != nil {
				t.Fatal(err)
			}
			old.forget()
			old.await("report a newer agent has the redirect")
		}
		young.forget()
		young.await("report <nil>") // which may have been on its way
		young.await("report <nil>")
		if got := whoAnswers(t, n.a, answer); got != "young" {
			t.Errorf("%q answers, want the new agent", got)
		}
	})
}

func TestAKilledAgentLeavesNobodyBehind(t *testing.T) {
	n := newNetwork(t)
	a := startAgent(t, n.node, "agent")
	a.tell("run")
	a.await("canary <nil>")
	a.kill()
	if got := whoAnswers(t, n.a, answer); got != "refused" {
		t.Errorf("%q answers, want a refusal: the node's metadata service is not for pods", got)
	}
	t.Run("uninstall removes what it left", func(t *testing.T) {
		r, err := redirect.New(redirect.Config{Listen: netip.MustParseAddrPort("169.254.30.1:99"), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if err := n.node.Do(r.Remove); err != nil {
			t.Fatal(err)
		}
		if err := n.node.Do(func() error {
			if _, err := netlink.LinkByName("podid-canary"); err == nil {
				t.Error("the canary is still there")
			}
			addrs, err := netlink.AddrList(loopback(t), unix.AF_INET)
			for _, a := range addrs {
				if a.IP.IsLinkLocalUnicast() {
					t.Errorf("%s is still there", a)
				}
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if got := reach(t, n.a, "169.254.169.254:80"); got != "the metadata service of the node" {
			t.Errorf("pod a reaches %q", got)
		}
	})
}

// deleteTable takes podid's table away.
func deleteTable() error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	ours := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "podid"})
	conn.DelTable(ours)
	return conn.Flush()
}
