package e2e_test

import (
	"context"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/cli/demo"
	"github.com/podid-io/podid/test/localcluster"
)

// lateClient is the identity of the referees, which is on the nodes by then.
const lateClient = "cccccccc-0000-0000-0000-000000000001"

// startAgent starts an nmi that outlives the test.
func startAgent(t *testing.T, w *demo.World, n *localcluster.Node, name string, flags ...string) *demo.Agent {
	t.Helper()
	a, err := w.StartAgent(context.WithoutCancel(t.Context()), n, name, flags...) // what comes after needs it
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// awaitAgent waits until an nmi is ready.
func awaitAgent(t *testing.T, w *demo.World, a *demo.Agent) {
	t.Helper()
	if err := w.AwaitAgent(t.Context(), a); err != nil {
		t.Fatal(err)
	}
}

// replaceAgent replaces the nmi of a node, by surge.
func replaceAgent(t *testing.T, w *demo.World, n *localcluster.Node, name string, flags ...string) *demo.Agent {
	t.Helper()
	old, young := w.Agent(n), startAgent(t, w, n, name, flags...)
	awaitAgent(t, w, young)
	old.Stop()
	return young
}

// steady asks again and again as a pod, over new connections or one that is
// kept, until it is stopped; then it tells how often it was answered, and what
// else happened.
func steady(t *testing.T, p *localcluster.Pod, keep bool) (stop func() (answered int, failed []error)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	tr := &http.Transport{DialContext: p.DialContext, DisableKeepAlives: !keep}
	client := &http.Client{Transport: tr, Timeout: 30 * time.Second}
	answered, failed := 0, []error{}
	var g sync.WaitGroup
	g.Go(func() { // ends with ctx
		for tick := time.Tick(2 * time.Millisecond); ctx.Err() == nil; <-tick {
			_, err := tokenFrom(context.WithoutCancel(ctx), client) // the last one counts too
			if err != nil {
				failed = append(failed, err)
				continue
			}
			answered++
		}
	})
	return func() (int, []error) {
		cancel()
		g.Wait()
		tr.CloseIdleConnections()
		return answered, failed
	}
}

// auditOf is what an agent has written of a pod.
func auditOf(t *testing.T, a *demo.Agent, pod string) (n int) {
	t.Helper()
	lines, err := audited(a)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		if l.Pod == pod {
			n++
		}
	}
	return n
}

// atMachine counts what the metadata service of a node was asked.
func atMachine(t *testing.T, w *demo.World, n *localcluster.Node) (asked int) {
	t.Helper()
	events, err := w.Azure.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Machine == n.Name && strings.HasPrefix(e.Endpoint, "imds.") {
			asked++
		}
	}
	return asked
}

// upgrade replaces the agent of a node while pods ask, kills it, stops it, and
// uninstalls it.
func upgrade(t *testing.T, w *demo.World) {
	t.Helper()
	node := w.Cluster.Nodes()[0]
	labels := map[string]string{v1.LabelBinding: "late"}
	fresh, kept := run(t, w, newPod(w, "default", "fresh", labels)), run(t, w, newPod(w, "default", "kept", labels))
	wantOwner(t, fresh, "", lateClient)
	wantOwner(t, kept, "", lateClient)
	t.Run("by surge, nobody is refused", func(t *testing.T) { surge(t, w, fresh, kept) })
	t.Run("an agent that was killed leaves pods with nobody", func(t *testing.T) {
		w.Agent(node).Kill()
		before := atMachine(t, w, node)
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if status, body, err := fetch(ctx, fresh.DialContext, tokenURL+"&client_id="+micClient); err == nil {
				t.Errorf("somebody answers %d %s", status, withoutToken(body))
			}
			cancel()
		}
		if after := atMachine(t, w, node); after != before {
			t.Errorf("the node's metadata service was asked %d times", after-before)
		}
		awaitAgent(t, w, startAgent(t, w, node, "after-kill"))
		wantOwner(t, fresh, "", lateClient)
	})
	t.Run("a planned stop makes pods wait for the next agent", func(t *testing.T) {
		w.Agent(node).Stop()
		answer := make(chan error, 1)
		go func() { answer <- ownedBy(t, fresh, "", lateClient) }() // ends with the answer
		select {
		case err := <-answer:
			t.Fatalf("answered without an agent: %v", err)
		case <-time.After(500 * time.Millisecond):
		}
		startAgent(t, w, node, "after-stop")
		if err := <-answer; err != nil {
			t.Errorf("the request from before: %v", err)
		}
		awaitAgent(t, w, w.Agent(node))
	})
	t.Run("only an uninstall opens the metadata service", func(t *testing.T) {
		w.Agent(node).Stop()
		out, err := node.Command(t.Context(), filepath.Join(bin(t), "nmi"), "uninstall-redirect").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		wantOwner(t, fresh, "&client_id="+micClient, micClient)
		awaitAgent(t, w, startAgent(t, w, node, "after-uninstall"))
		if got, err := owner(t, fresh, "&client_id="+micClient); err == nil {
			t.Errorf("with an agent again, the pod gets a token of %s", got.ClientID)
		}
	})
}

// surge starts a new agent beside the old one, and ends the old one when the new
// one is ready.
func surge(t *testing.T, w *demo.World, fresh, kept *localcluster.Pod) {
	t.Helper()
	node := w.Cluster.Nodes()[0]
	old := w.Agent(node)
	stops := map[string]func() (int, []error){"new connections": steady(t, fresh, false), "a kept connection": steady(t, kept, true)}
	young := replaceAgent(t, w, node, "young")
	eventually(t, time.Minute, func() error { // the kept one has moved as well
		if auditOf(t, young, fresh.Name) < 20 || auditOf(t, young, kept.Name) < 20 {
			return errNotYet
		}
		return nil
	})
	for name, stop := range stops {
		answered, failed := stop()
		if len(failed) > 0 {
			t.Errorf("%s: %d of %d requests failed, the first with %v", name, len(failed), answered+len(failed), failed[0])
		}
		t.Logf("%s: %d answers", name, answered)
	}
	if auditOf(t, old, fresh.Name) == 0 || auditOf(t, old, kept.Name) == 0 {
		t.Error("the old agent was never asked: nothing was shown")
	}
}

// callers: a pod is itself after its network was replaced, on a node that was
// restarted, and on the network of the node.
func callers(t *testing.T, w *demo.World) {
	t.Helper()
	node := w.Cluster.Nodes()[1]
	const other = "cccccccc-0000-0000-0000-000000000002"
	merge(t, w, azemu.State{Identities: []azemu.Identity{{ID: identityID("podid-demo", "other"), ClientID: other}}})
	bind(t, w, "other", other)
	on := func(name, label string, hostNetwork bool) *localcluster.Pod {
		t.Helper()
		o := newPod(w, "default", name, map[string]string{v1.LabelBinding: label})
		o.Spec.NodeName, o.Spec.HostNetwork = node.Name, hostNetwork
		return run(t, w, o)
	}
	pods := map[string]*localcluster.Pod{"late": on("caller-late", "late", false), "other": on("caller-other", "other", false)}
	owners := map[string]string{"late": lateClient, "other": other}
	for label, p := range pods {
		wantOwner(t, p, "", owners[label])
	}
	t.Run("a new network with the same address", func(t *testing.T) {
		p, err := w.Cluster.ReplaceSandbox(t.Context(), pods["late"], netip.Addr{})
		if err != nil {
			t.Fatal(err)
		}
		wantOwner(t, p, "", lateClient) // held until the kubelet tells
	})
	t.Run("a pod on the network of the node", func(t *testing.T) {
		p := on("caller-host", "other", true)
		if _, err := owner(t, p, "&client_id="+other); err != nil {
			t.Errorf("it does not reach the node's metadata service: %v", err)
		}
		if status, body, err := fetch(t.Context(), p.DialContext, strings.Replace(tokenURL, "169.254.169.254", "169.254.25.79:2579", 1)); err == nil {
			t.Errorf("nmi answers it %d %s", status, withoutToken(body))
		}
		if n := auditOf(t, w.Agent(node), p.Name); n != 0 {
			t.Errorf("nmi has answered it %d times", n)
		}
	})
	t.Run("a node that was restarted", func(t *testing.T) { reboot(t, w, node, owners) })
}

// reboot restarts a node: all links are new, each pod has another one's address,
// and the API server still tells the old ones.
func reboot(t *testing.T, w *demo.World, node *localcluster.Node, owners map[string]string) {
	t.Helper()
	now, err := w.Cluster.Reboot(t.Context(), node.Name)
	if err != nil {
		t.Fatal(err)
	}
	mine := func(p *localcluster.Pod) string { return owners[strings.TrimPrefix(p.Name, "caller-")] }
	var g sync.WaitGroup
	for _, p := range now {
		g.Go(func() { // ends after two seconds
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if got, err := ask(ctx, p, netip.Addr{}); err == nil && got != mine(p) {
				t.Errorf("pod %s gets a token of %s before its address is known", p.Name, got)
			}
		})
	}
	g.Wait()
	w.Cluster.ReportStatus(node.Name)
	for _, p := range now {
		if mine(p) != "" {
			wantOwner(t, p, "", mine(p))
		}
	}
}
