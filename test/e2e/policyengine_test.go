package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/podid-io/podid/internal/cli/demo"
	"github.com/podid-io/podid/test/localcluster"
)

// policyEngineEnv is the path of test/policyengine, as `make e2e` builds it.
// Without it, the test does not run.
const policyEngineEnv = "PODID_POLICY_ENGINE"

// logged is what a program has written, for a test that fails.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// startPolicyEngine runs Azure's network policy manager on a node.
func startPolicyEngine(t *testing.T, w *demo.World, node *localcluster.Node, program string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := node.Command(ctx, program, w.Cluster.Kubeconfig(), node.Name)
	out := &logged{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // killed
		if t.Failed() {
			text := out.String()
			t.Logf("the policy engine said:\n%s", text[max(0, len(text)-20000):])
		}
	})
}

// applyPolicy applies one of examples/network-policies.
func applyPolicy(t *testing.T, w *demo.World, name string) {
	t.Helper()
	text, err := os.ReadFile("../../examples/network-policies/" + name)
	if err != nil {
		t.Fatal(err)
	}
	create(t, w.Client, string(text))
}

// allowOnePort lets every pod of the namespace connect to one port of one other. It
// shows when the engine has taken what was made before it.
const allowOnePort = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow-one-port, namespace: default}
spec:
  podSelector: {}
  policyTypes: [Egress]
  egress:
    - to: [{podSelector: {matchLabels: {app: other}}}]
      ports: [{protocol: TCP, port: 8081}]
`

// listen has a pod take connections at a port, and returns where.
func listen(t *testing.T, p *localcluster.Pod, port uint16) string {
	t.Helper()
	var l net.Listener
	if err := p.Do(func() (err error) {
		var lc net.ListenConfig
		l, err = lc.Listen(t.Context(), "tcp4", netip.AddrPortFrom(p.Addr, port).String())
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
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}

// connects tries to connect from a pod.
func connects(t *testing.T, p *localcluster.Pod, to string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	c, err := p.DialContext(ctx, "tcp4", to)
	if err != nil {
		return err
	}
	return c.Close()
}

// kept checks that a pod cannot connect while another, free one can, at its first try
// directly after: on a slow computer anybody's try may fail, and that is no policy's
// doing. Then both try again.
func kept(t *testing.T, pod, free *localcluster.Pod, to string) {
	t.Helper()
	eventually(t, 40*time.Second, func() error {
		if connects(t, pod, to) == nil {
			t.Fatalf("it reaches %s", to)
		}
		if err := connects(t, free, to); err != nil {
			return fmt.Errorf("a pod that no policy is for does not reach %s directly after: %w", to, err)
		}
		return nil
	})
}

// TestPolicyEngine has Azure's network policy manager enforce the policies of
// docs/network-policies.md on a node of podid's. It looks at what a node forwards
// and not at what is for the node itself, as a request for a token is.
func TestPolicyEngine(t *testing.T) {
	program := os.Getenv(policyEngineEnv)
	if program == "" {
		t.Skip("this test is for make e2e, which builds the policy engine")
	}
	for _, tool := range []string{"ipset", "iptables"} {
		if _, err := exec.LookPath(tool); err != nil && os.Getenv("PODID_REQUIRE_NODE") == "1" {
			t.Fatalf("the policy engine needs %s: %v", tool, err)
		} else if err != nil {
			t.Skipf("the policy engine needs %s: %v", tool, err)
		}
	}
	w := startWorld(t, time.Second)
	bind(t, w, "vault-reader", vaultClient)
	node := w.Cluster.Nodes()[0]
	pod := runPod(t, w, "asks", node.Name, "vault-reader")
	other := run(t, w, newPod(w, "default", "other", map[string]string{"app": "other"}))
	needNamespace(t, w, "elsewhere")
	free := run(t, w, newPod(w, "elsewhere", "free", nil))
	there, allowed := listen(t, other, 8080), listen(t, other, 8081)
	for _, from := range []*localcluster.Pod{pod, free} {
		for _, to := range []string{there, allowed} {
			eventually(t, 20*time.Second, func() error { return connects(t, from, to) })
		}
	}
	startPolicyEngine(t, w, node, program)

	applyPolicy(t, w, "deny-egress.yaml")
	t.Run("a pod that may not connect to anything cannot reach another pod, which one that no policy is for can", func(t *testing.T) {
		eventually(t, 40*time.Second, func() error {
			if connects(t, pod, there) == nil {
				return errors.New("it can")
			}
			return connects(t, free, there) // directly after: see kept
		})
		kept(t, pod, free, there)
		kept(t, pod, free, allowed)
	})
	token := func(t *testing.T) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if got, err := ask(ctx, pod, netip.Addr{}); err != nil || got != vaultClient {
			t.Errorf("the pod gets a token of %q (%v), want its own", got, err)
		}
	}
	t.Run("it gets its token", token)
	applyPolicy(t, w, "allow-podid.yaml")
	create(t, w.Client, allowOnePort)
	t.Run("with podid and one port of another pod allowed, it reaches that port", func(t *testing.T) {
		eventually(t, 40*time.Second, func() error { return connects(t, pod, allowed) })
	})
	t.Run("it gets its token still", token)
	t.Run("and reaches no other port", func(t *testing.T) {
		kept(t, pod, free, there)
	})
}
