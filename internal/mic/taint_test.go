package mic_test

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
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

// TestAgentMayUntaintItsOwnNodeAlone asks as an nmi whose token names the node that
// it runs on, as every token of a pod does.
func TestAgentMayUntaintItsOwnNodeAlone(t *testing.T) {
	w := newWorld(t, azemu.Config{})
	for _, file := range []string{"rbac/nmi.yaml", "policy/startup-taint.yaml", "rbac/startup-taint-managed.yaml"} {
		w.applyFile("", "../../config/"+file)
	}
	for _, name := range []string{"own", "victim"} {
		n := node(name, "")
		n.Spec.Taints = []corev1.Taint{{Key: "other", Effect: corev1.TaintEffectNoSchedule}, {Key: startup.DefaultKey, Effect: corev1.TaintEffectNoSchedule}}
		w.apply("", n)
	}
	nodes := w.asAgentOn("own")
	patch := func(node, patch string) error {
		_, err := nodes.Patch(t.Context(), node, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		return err
	}
	deadline := time.Now().Add(patience) // a policy counts a little after it is made
	for tick := time.Tick(50 * time.Millisecond); ; <-tick {
		err := patch("victim", `{"metadata":{"labels":{"x":"`+rand.Text()+`"}}}`)
		if err != nil && strings.Contains(err.Error(), "nmi may change the node that it runs on") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("an nmi of another node patches this one: %v", err)
		}
	}
	if done, err := startup.Remove(t.Context(), nodes, "victim", []string{startup.DefaultKey}); done || err == nil {
		t.Errorf("Remove() = %t, %v: an nmi of another node took the taint off", done, err)
	}
	for what, refused := range map[string]struct{ patch, want string }{
		"a label":            {`{"metadata":{"labels":{"x":"` + rand.Text() + `"}}}`, "the taints of a node, and nothing else"},
		"a cordon":           {`{"spec":{"unschedulable":true}}`, "the taints of a node, and nothing else"},
		"another's taint":    {`{"spec":{"taints":[{"key":"` + startup.DefaultKey + `","effect":"NoSchedule"}]}}`, "and no other"},
		"a taint of its own": {`{"spec":{"taints":[{"key":"other","effect":"NoSchedule"},{"key":"` + startup.DefaultKey + `","effect":"NoSchedule"},{"key":"new","effect":"NoSchedule"}]}}`, "not put any on it"},
	} {
		if err := patch("own", refused.patch); err == nil || !strings.Contains(err.Error(), refused.want) {
			t.Errorf("%s: %v, want a refusal that says %q", what, err, refused.want)
		}
	}
	if done, err := startup.Remove(t.Context(), nodes, "own", []string{startup.DefaultKey}); !done || err != nil {
		t.Errorf("Remove() = %t, %v: nmi could not take the taint off its own node", done, err)
	}
	var list corev1.NodeList
	must(t, w.api.List(t.Context(), &list))
	if got := taintsOf(&list, "own"); !slices.Equal(got, []string{"other"}) {
		t.Errorf("the own node has the taints %v", got)
	}
}

// asAgentOn is a client for nodes with a token of an nmi on that node.
func (w *world) asAgentOn(node string) startup.Nodes {
	w.t.Helper()
	p := agent("nmi-"+node, node, taint.AgentLabels())
	p.Spec.ServiceAccountName = "podid-nmi"
	w.apply(system, p)
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), patience)
		defer cancel()
		must(w.t, w.api.Delete(ctx, p, client.GracePeriodSeconds(0)))
	})
	admin, err := corev1client.NewForConfig(plane.REST())
	must(w.t, err)
	token, err := admin.ServiceAccounts(system).CreateToken(w.t.Context(), "podid-nmi", &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: p.Name, UID: p.UID}},
	}, metav1.CreateOptions{})
	must(w.t, err)
	config := rest.AnonymousClientConfig(plane.REST())
	config.BearerToken = token.Status.Token
	c, err := corev1client.NewForConfig(config)
	must(w.t, err)
	return c.Nodes()
}

// setReady reports a pod as running and ready.
func (w *world) setReady(name client.ObjectKey) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
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
