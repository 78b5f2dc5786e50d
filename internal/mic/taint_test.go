package mic_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/mic"
	"github.com/podid-io/podid/internal/mic/taint"
	startup "github.com/podid-io/podid/internal/taint"
)

// agent is a pod of nmi, or one that looks like it.
func agent(name, node string, labels map[string]string) *corev1.Pod {
	p := pod(name, node, "")
	p.Labels = labels
	return p
}

func TestStartupTaintGoesWhenTheAgentIsReady(t *testing.T) {
	const key, scaler = "podid.io/agent-not-ready", "startup-taint.cluster-autoscaler.kubernetes.io/podid"
	w := newWorld(t, azemu.Config{})
	w.applyFile("", "../../config/policy/startup-taint.yaml")
	w.applyFile("", "../../config/rbac/startup-taint.yaml")
	w.edit = func(c *mic.Config) { c.StartupTaints = []string{key, scaler} }
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		must(t, w.api.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(system), client.GracePeriodSeconds(0)),
			w.api.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace("default"), client.GracePeriodSeconds(0)))
	})
	tainted := func(name string) *corev1.Node {
		n := node(name, "")
		for _, k := range []string{"other", key, scaler} {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: k, Effect: corev1.TaintEffectNoSchedule})
		}
		return n
	}
	w.apply("", tainted("ready"), tainted("starting"), tainted("forged"))
	labels := taint.AgentLabels()
	w.apply(system, agent("nmi-ready", "ready", labels), agent("nmi-starting", "starting", labels))
	w.apply("default", agent("nmi-forged", "forged", labels)) // another namespace
	for _, name := range []client.ObjectKey{{Namespace: system, Name: "nmi-ready"}, {Namespace: "default", Name: "nmi-forged"}} {
		w.setReady(name)
	}
	defer w.run()()
	await(w, "", &corev1.NodeList{}, "the taints of the ready node go", func(l *corev1.NodeList) bool {
		return slices.Equal(taintsOf(l, "ready"), []string{"other"})
	})
	var nodes corev1.NodeList
	must(t, w.api.List(t.Context(), &nodes))
	for _, name := range []string{"starting", "forged"} {
		if got := taintsOf(&nodes, name); len(got) != 3 {
			t.Errorf("node %s, whose agent is not ready, has the taints %v", name, got)
		}
	}
	w.setReady(client.ObjectKey{Namespace: system, Name: "nmi-starting"})
	await(w, "", &corev1.NodeList{}, "the taints go when the agent becomes ready", func(l *corev1.NodeList) bool {
		return slices.Equal(taintsOf(l, "starting"), []string{"other"})
	})
}

// TestAgentMayNotTouchOtherNodes asks as an nmi whose token does not say that it
// runs on the node.
func TestAgentMayNotTouchOtherNodes(t *testing.T) {
	w := newWorld(t, azemu.Config{})
	w.applyFile("", "../../config/rbac/nmi.yaml")
	w.applyFile("", "../../config/policy/startup-taint.yaml")
	w.applyFile("", "../../config/rbac/startup-taint-managed.yaml")
	n := node("victim", "")
	n.Spec.Taints = []corev1.Taint{{Key: startup.DefaultKey, Effect: corev1.TaintEffectNoSchedule}}
	w.apply("", n)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	must(t, plane.TokenKubeconfig(t.Context(), system, "podid-nmi", kubeconfig))
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	must(t, err)
	client, err := corev1client.NewForConfig(config)
	must(t, err)
	deadline := time.Now().Add(patience) // a policy counts a little after it is made
	for tick := time.Tick(50 * time.Millisecond); ; <-tick {
		_, err := client.Nodes().Patch(t.Context(), "victim", types.MergePatchType, []byte(`{"metadata":{"labels":{"x":"`+time.Now().Format("150405.000")[:6]+`"}}}`), metav1.PatchOptions{})
		if err != nil && strings.Contains(err.Error(), "nmi may change the node that it runs on") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("an nmi of another node patches this one: %v", err)
		}
	}
	if done, err := startup.Remove(t.Context(), client.Nodes(), "victim", []string{startup.DefaultKey}); done || err == nil {
		t.Errorf("Remove() = %t, %v: an nmi of another node took the taint off", done, err)
	}
}

// setReady reports a pod as running and ready.
func (w *world) setReady(name client.ObjectKey) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	var p corev1.Pod
	must(w.t, w.api.Get(ctx, name, &p))
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}}
	must(w.t, w.api.Status().Update(ctx, &p))
}

func taintsOf(l *corev1.NodeList, name string) []string {
	var keys []string
	for i := range l.Items {
		if l.Items[i].Name != name {
			continue
		}
		for _, t := range l.Items[i].Spec.Taints {
			if t.Key != corev1.TaintNodeNotReady { // the API server puts it on every new node
				keys = append(keys, t.Key)
			}
		}
	}
	return keys
}
