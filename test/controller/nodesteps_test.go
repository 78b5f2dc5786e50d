package controller_test

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podid-io/podid/test/controller/model"
)

// nodeComes has a node come, or one that has been come back, perhaps on another
// machine.
func (w *world) nodeComes() bool {
	name := one(w, w.names.nodes)
	before, was := w.now.Nodes[name]
	if was && !before.Gone {
		return false
	}
	taken, used := map[string]bool{}, map[string]bool{}
	for _, n := range w.now.Nodes {
		if !n.Gone {
			taken[n.Machine] = true
		}
	}
	for _, p := range w.now.Pods {
		used[p.Node] = true
	}
	n := model.Node{Machine: one(w, w.names.machines), Pool: one(w, w.names.pools)}
	if taken[n.Machine] && !strings.Contains(n.Machine, "scalesets") {
		return false // a VM is one node
	}
	o := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"agentpool": n.Pool}}}
	o.Spec.ProviderID = w.names.providerID(w.r, n.Machine)
	if w.r.IntN(8) == 0 && !used[name] { // its pods would stay where they were
		n.Machine, o.Spec.ProviderID = "", one(w, []string{"", "kind://docker/" + name})
	}
	if err := w.api.Create(w.t.Context(), o); err != nil {
		w.fail(err)
		return false
	}
	next := w.now.Clone()
	next.Nodes[name] = n
	w.lessen(next.Want())
	w.extend(next)
	w.say("node %s comes, providerID %s, pool %s", name, o.Spec.ProviderID, n.Pool)
	return true
}

// nodeGoes has a node go, with its pods, before them, or without them. What was
// there of it when all was as it should be is known of it.
func (w *world) nodeGoes() bool {
	name, ok := pick(w, w.now.Nodes, strings.Compare, func(_ string, n model.Node) bool { return !n.Gone && n.Known })
	if !ok {
		return false
	}
	w.say("node %s goes", name)
	next := w.now.Clone()
	n := next.Nodes[name]
	n.Gone = true
	next.Nodes[name] = n
	if !w.turn(next, func() error {
		return w.api.Delete(w.t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}) {
		return false
	}
	if w.r.IntN(3) == 0 {
		return true // its pods stay
	}
	for {
		pod, ok := pick(w, w.now.Pods, byName, func(_ model.Name, p model.Pod) bool { return p.Node == name })
		if !ok || !w.deletePod(pod) {
			return true
		}
	}
}
