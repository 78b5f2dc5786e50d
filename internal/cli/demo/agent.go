package demo

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"

	"github.com/podid-io/podid/test/localcluster"
)

// Agent is an nmi that runs on a node.
type Agent struct {
	// Audit is the file that it writes its audit log to, Log what it says.
	Audit, Log string
	// Health is where it tells how it is.
	Health netip.AddrPort

	node   string
	cancel context.CancelFunc
	kill   atomic.Bool
	ended  <-chan struct{}
}

// Agent returns the nmi that was started last on a node.
func (w *World) Agent(node *localcluster.Node) *Agent {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range slices.Backward(w.agents) {
		if a.node == node.Name {
			return a
		}
	}
	return nil
}

// Kubeconfig is a file with the rights of nmi's service account.
func (w *World) Kubeconfig() string { return w.path("nmi.kubeconfig") }

// startAgents starts nmi in the network of each node, with the rights of its
// own service account.
func (w *World) startAgents(ctx context.Context) error {
	if err := w.Cluster.TokenKubeconfig(ctx, systemNamespace, "podid-nmi", w.Kubeconfig()); err != nil {
		return err
	}
	for _, n := range w.Cluster.Nodes() {
		w.story.say("starting nmi on node %s", n.Name)
		if _, err := w.StartAgent(ctx, n, n.Name); err != nil {
			return err
		}
	}
	for _, n := range w.Cluster.Nodes() {
		if err := w.AwaitAgent(ctx, w.Agent(n)); err != nil {
			return err
		}
	}
	return nil
}

// StartAgent starts an nmi, with more flags, on a node. It has a name of its own
// and runs until it is stopped, the World is, or ctx ends.
func (w *World) StartAgent(ctx context.Context, n *localcluster.Node, name string, flags ...string) (*Agent, error) {
	bin, err := w.binary("nmi")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	a := &Agent{node: n.Name, Health: w.healthOf(n), Audit: w.path("audit-" + name + ".jsonl"), Log: w.path("nmi-" + name + ".log"), cancel: cancel}
	args := []string{
		"--node", n.Name, "--kubeconfig", w.Kubeconfig(),
		"--mic-service-account", systemNamespace + "/podid-mic", "--mic-client-id", micClient,
		"--health-listen", a.Health.String(), "--audit-file", a.Audit,
	}
	cmd := n.Command(ctx, bin, append(append(args, w.config.AgentFlags...), flags...)...)
	cmd.Env = append(os.Environ(), w.config.AgentEnv...)
	a.ended, err = w.background(ctx, "nmi-"+name, cmd.Cmd, func() error {
		asked := cmd.Cancel
		cmd.Cancel = func() error {
			if a.kill.Load() {
				return cmd.Process.Kill()
			}
			return asked()
		}
		return cmd.Start()
	}, cmd.Wait)
	if err != nil {
		cancel()
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.agents = append(w.agents, a)
	return a, nil
}

// healthOf is where the next agent of a node tells how it is: an agent and its
// successor run at once.
func (w *World) healthOf(n *localcluster.Node) netip.AddrPort {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nextHealth++
	return netip.AddrPortFrom(n.Addr, w.nextHealth-1)
}

// AwaitAgent waits until an nmi is ready.
func (w *World) AwaitAgent(ctx context.Context, a *Agent) error {
	return w.awaitReady(ctx, "nmi at "+a.Health.String(), a.Health)
}

// Stop asks the agent to end, as kubelet does, and waits for it.
func (a *Agent) Stop() {
	a.cancel()
	<-a.ended
}

// Kill ends the agent without asking it.
func (a *Agent) Kill() {
	a.kill.Store(true)
	a.Stop()
}
