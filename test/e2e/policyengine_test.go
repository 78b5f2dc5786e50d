package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

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
	policy := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(text, &policy.Object); err != nil {
		t.Fatal(err)
	}
	if err := w.Client.Create(t.Context(), policy); err != nil {
		t.Fatal(err)
	}
}

// listen has a pod take connections, and returns where.
func listen(t *testing.T, p *localcluster.Pod) string {
	t.Helper()
	var l net.Listener
	if err := p.Do(func() (err error) {
		var lc net.ListenConfig
		l, err = lc.Listen(t.Context(), "tcp4", netip.AddrPortFrom(p.Addr, 8080).String())
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
	there := listen(t, other)
	if err := connects(t, pod, there); err != nil {
		t.Fatal(err)
	}
	startPolicyEngine(t, w, node, program)

	applyPolicy(t, w, "deny-egress.yaml")
	t.Run("a pod that may not connect to anything cannot reach another pod", func(t *testing.T) {
		eventually(t, 40*time.Second, func() error {
			if connects(t, pod, there) == nil {
				return errors.New("it can")
			}
			return nil
		})
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
	t.Run("with podid allowed, it gets its token", token)
	t.Run("and reaches no other pod", func(t *testing.T) {
		if connects(t, pod, there) == nil {
			t.Error("it does")
		}
	})
}
