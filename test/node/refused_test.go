package node_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// refused checks those of the examples that must get nothing.
func refused(t *testing.T, w *world) {
	t.Helper()
	for _, pod := range []client.ObjectKey{{Namespace: "default", Name: "unlabelled"}, {Namespace: "other-team", Name: "copycat"}} {
		var out string
		eventually(t, time.Minute, func() error { // when its container runs
			var err error
			out, err = w.exec(t, pod.Namespace, pod.Name, "/workload", "ask", "-to", "")
			if err == nil {
				t.Fatalf("%s got a token: %s", pod, out)
			}
			if strings.Contains(out, "emulator") {
				t.Fatalf("%s reaches past nmi: %v, %s", pod, err, out)
			}
			if !refusedByAgent(out) {
				return fmt.Errorf("%s: %w, %s; want nmi's refusal", pod, err, out)
			}
			return nil
		})
		t.Logf("%s: %s", pod, strings.TrimSpace(out))
		if told := w.reports.of(pod.Name); len(told) > 0 {
			t.Errorf("%s got tokens: %+v", pod, told)
		}
	}
}

// refusedByAgent tells whether a pod was refused, and not by the metadata service
// that stands behind nmi, which would mean that the pod reaches it.
func refusedByAgent(out string) bool {
	return strings.Contains(out, "answered 40") && !strings.Contains(out, "emulator")
}

// bridge adds a node whose pods hang on a bridge, by the plugin of that name:
// its pods get no token, and nmi says why.
func bridge(t *testing.T, w *world) {
	t.Helper()
	m, err := w.full.AddMachine(t.Context(), machineConfig(2))
	if err != nil {
		t.Fatal(err)
	}
	pod := onNode("bridged", 2, "vault-reader", corev1.Container{Name: "app", Image: curlImage, Args: []string{"pause"}})
	w.create(t, pod)
	agent := w.agentOn(t, m.Name)
	want := "pods of this node share an interface, bridge cbr0"
	var ready string
	eventually(t, time.Minute, func() error { // when the pod is there, and nmi has seen it
		var err error
		if ready, err = w.exec(t, systemNamespace, agent, "/nmi", "ready"); err == nil || !strings.Contains(ready, want) {
			return fmt.Errorf("nmi ready: %w, want an error that says %q", err, want)
		}
		return nil
	})
	t.Logf("nmi ready: %s", ready)
	out, err := w.exec(t, pod.Namespace, pod.Name, "/workload", "ask", "-to", "")
	if err == nil || !refusedByAgent(out) {
		t.Errorf("a pod on a bridge is told %s (%v), want nmi's refusal", out, err)
	}
	t.Logf("the pod is told: %s", strings.TrimSpace(out))
	m.Off()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: m.Name}}
	if err := w.client.Delete(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	// Its pods would stay for a minute, and keep DaemonSets from being rolled out.
	var pods corev1.PodList
	if err := w.client.List(t.Context(), &pods, client.MatchingFields{"spec.nodeName": m.Name}); err != nil {
		t.Fatal(err)
	}
	for i := range pods.Items {
		if err := w.client.Delete(t.Context(), &pods.Items[i], client.GracePeriodSeconds(0)); err != nil {
			t.Error(err)
		}
	}
}

// agentOn is the name of nmi's pod on a node.
func (w *world) agentOn(t *testing.T, node string) (name string) {
	t.Helper()
	until(t, w, time.Minute, "nmi on "+node, &corev1.PodList{}, func(_ watch.EventType, p *corev1.Pod) bool {
		name = p.Name
		return p.Spec.NodeName == node && p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil
	}, client.InNamespace(systemNamespace), client.MatchingLabels{"app.kubernetes.io/name": "podid", "app.kubernetes.io/component": "nmi"})
	return name
}
