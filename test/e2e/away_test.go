package e2e_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/cli/demo"
	"github.com/podid-io/podid/test/localcluster"
)

// line is a way to the API server that can be cut.
type line struct {
	address string

	mu       sync.Mutex
	listener net.Listener          // guarded by mu
	open     map[net.Conn]struct{} // guarded by mu
}

// connect makes the way usable.
func (l *line) connect(t *testing.T, target string) {
	t.Helper()
	var lc net.ListenConfig
	listener, err := lc.Listen(t.Context(), "tcp", l.address)
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	l.listener, l.open = listener, map[net.Conn]struct{}{}
	l.mu.Unlock()
	go func() { // ends when the listener is closed
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go l.pass(listener, c, target) // ends with either connection
		}
	}()
}

// pass joins a connection to a listener and one to the target.
func (l *line) pass(on net.Listener, here net.Conn, target string) {
	var d net.Dialer
	there, err := d.DialContext(context.Background(), "tcp", target) // cut closes it
	if err != nil {
		_ = here.Close()
		return
	}
	l.mu.Lock()
	if l.listener == on {
		l.open[here], l.open[there] = struct{}{}, struct{}{}
	} else { // it was cut meanwhile
		_, _ = here.Close(), there.Close()
	}
	l.mu.Unlock()
	go func() { _, _ = io.Copy(there, here); _ = there.Close() }() // ends with here
	_, _ = io.Copy(here, there)
	_ = here.Close()
}

// cut ends all connections and refuses new ones.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.listener.Close()
	l.listener = nil
	for c := range l.open {
		_ = c.Close()
	}
}

// apiServerAway: an agent that has lost the API server goes on with what it
// knows, and answers nobody whom it does not know.
func apiServerAway(t *testing.T, w *demo.World) {
	t.Helper()
	node := w.Cluster.Nodes()[0]
	const direct = localcluster.FabricAddress + ":6443"
	l := &line{address: localcluster.FabricAddress + ":7443"}
	l.connect(t, direct)
	text, err := os.ReadFile(w.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte(strings.ReplaceAll(string(text), direct, l.address)), 0o600); err != nil {
		t.Fatal(err)
	}
	agent := replaceAgent(t, w, node, "apart", "--kubeconfig", kubeconfig)
	labels := map[string]string{v1.LabelBinding: "late"}
	known := run(t, w, newPod(w, "default", "known", labels))
	wantOwner(t, known, "", lateClient)
	l.cut()
	wantOwner(t, known, "", lateClient)
	wantOwner(t, known, "/resource/of/its/own", lateClient)
	unknown := run(t, w, newPod(w, "default", "unknown", labels))
	answer := make(chan error, 1)
	go func() { answer <- ownedBy(t, unknown, "", lateClient) }() // ends with the answer
	select {
	case err := <-answer:
		t.Fatalf("a pod that the agent cannot know is answered: %v", err)
	case <-time.After(2 * time.Second):
	}
	if status, body, err := fetch(t.Context(), (&net.Dialer{}).DialContext, "http://"+agent.Health.String()+"/healthz"); err != nil || status != http.StatusOK {
		t.Errorf("the agent is not alive without the API server: %d %s (%v)", status, body, err)
	}
	l.connect(t, direct)
	if err := <-answer; err != nil {
		t.Errorf("the request from before: %v", err)
	}
	wantOwner(t, run(t, w, newPod(w, "default", "afterwards", labels)), "", lateClient)
	replaceAgent(t, w, node, "near")
	l.cut()
}
