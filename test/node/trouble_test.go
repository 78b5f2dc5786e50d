package node_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// tellTrouble logs what a person would look at first.
func (w *world) tellTrouble(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
	defer cancel()
	var pods corev1.PodList
	if err := w.client.List(ctx, &pods); err != nil {
		t.Log(err)
	}
	for _, p := range pods.Items {
		t.Logf("pod %s/%s on %s: %s %s", p.Namespace, p.Name, p.Spec.NodeName, p.Status.Phase, p.Status.PodIP)
		for _, c := range append(p.Status.InitContainerStatuses, p.Status.ContainerStatuses...) {
			t.Logf("    %s: ready %t, %+v, restarts %d", c.Name, c.Ready, c.State, c.RestartCount)
		}
	}
	var events corev1.EventList
	if err := w.client.List(ctx, &events, client.Limit(500)); err != nil {
		t.Log(err)
	}
	for _, e := range events.Items {
		if e.Type != corev1.EventTypeNormal {
			t.Logf("event of %s/%s: %s: %s", e.InvolvedObject.Namespace, e.InvolvedObject.Name, e.Reason, e.Message)
		}
	}
}

// keepLogs copies all logs to a folder of the clone when the test has failed.
func (w *world) keepLogs(t *testing.T) {
	t.Helper()
	if !t.Failed() {
		return
	}
	to := filepath.Join("..", "..", logsFolder)
	if err := os.RemoveAll(to); err != nil {
		t.Log(err)
	}
	for _, pattern := range []string{"*/*.log", "*/disk/var/log/pods/*/*/*.log"} {
		logs, err := filepath.Glob(filepath.Join(w.dir, pattern))
		if err != nil {
			t.Log(err)
		}
		for _, log := range logs {
			if err := copyFile(filepath.Join(to, strings.TrimPrefix(log, w.dir)), log); err != nil {
				t.Log(err)
			}
		}
	}
	t.Logf("logs are in %s", absolute(t, to))
}

func copyFile(to, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}
