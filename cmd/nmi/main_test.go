package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/podid-io/podid/internal/telemetry"
	"github.com/podid-io/podid/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// TestAnAgentLeavesNothingBehind runs whole agents, on loopback and without a
// redirect: one that has never reached its API server and is ended, and some that
// cannot be put together. TestMain looks for what they leave.
func TestAnAgentLeavesNothingBehind(t *testing.T) {
	t.Cleanup(func() { telemetry.Bridge(slog.New(slog.DiscardHandler)) })
	dir := t.TempDir()
	kubeconfig, health := filepath.Join(dir, "kubeconfig"), "unix:"+filepath.Join(dir, "health.sock")
	if err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{"c": {Server: "https://127.0.0.1:1"}},
		Contexts: map[string]*clientcmdapi.Context{"c": {Cluster: "c"}}, CurrentContext: "c",
	}, kubeconfig); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"--node=n", "--kubeconfig=" + kubeconfig, "--redirect=none", "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0",
		"--health-listen=" + health, "--audit-file=" + filepath.Join(dir, "audit"), "--run-dir=" + filepath.Join(dir, "run"), "--host-token", "--host-token-port=0",
	}
	for name, more := range map[string]string{
		"a cloud that is unknown":      "--cloud=elsewhere",
		"a certificate that is absent": "--ca-file=" + filepath.Join(dir, "none"),
		"an audit mode that is none":   "--audit=sometimes",
	} {
		t.Run(name, func(t *testing.T) {
			if err := run(t.Context(), append(args, more), io.Discard); err == nil {
				t.Error("it ran")
			}
		})
	}
	t.Run("one that is ended", func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- run(ctx, args, io.Discard) }() // ends with ctx
		awaitAlive(t, health, ended)
		end()
		if err := <-ended; err != nil {
			t.Errorf("run() = %v", err)
		}
	})
}

// TestAnAgentThatStaysIsReady asks, as the DaemonSet's probe does, what has taken
// the redirect away.
func TestAnAgentThatStaysIsReady(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	o := options{healthListen: "unix:" + filepath.Join(t.TempDir(), "health.sock")}
	ended := make(chan error, 1)
	go func() { ended <- o.stay(ctx) }() // ends with ctx
	awaitAlive(t, o.healthListen, ended)
	if err := run(t.Context(), []string{"ready", "--health-listen=" + o.healthListen}, io.Discard); err != nil {
		t.Errorf("nmi ready: %v", err)
	}
	end()
	if err := <-ended; err != nil {
		t.Errorf("stay() = %v", err)
	}
}

// awaitAlive asks again until the agent is alive.
func awaitAlive(t *testing.T, health string, ended <-chan error) {
	t.Helper()
	deadline := time.After(time.Minute)
	for tick := time.Tick(20 * time.Millisecond); ; {
		status, _, err := telemetry.Ask(t.Context(), health, http.MethodGet, "/healthz", "")
		if err == nil && status == http.StatusOK {
			return
		}
		select {
		case <-tick:
		case err := <-ended:
			t.Fatalf("it has ended: %v", err)
		case <-deadline:
			t.Fatalf("not alive in a minute: %d, %v", status, err)
		}
	}
}
