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
	if w.missing[n.Machine] || taken[n.Machine] && !strings.Contains(n.Machine, "scalesets") {
		return false // a VM is one node
	}
	o := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"agentpool": n.Pool}}}
	o.Spec.ProviderID = w.names.providerID(w.r, n.Machine)
	if w.r.IntN(8) == 0 && !used[name] { // its pods would stay where they were
		n.Machine, n.Outside = "", w.r.IntN(2) == 0
		o.Spec.ProviderID = ""
		if n.Outside {
			o.Spec.ProviderID = "kind://docker/" + name
		}
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
	if w.deleteNode(name) && w.r.IntN(3) > 0 { // else its pods stay
		w.deletePodsOn(name)
	}
	return true
}

func (w *world) deleteNode(name string) bool {
	w.say("node %s goes", name)
	next := w.now.Clone()
	n := next.Nodes[name]
	n.Gone = true
	next.Nodes[name] = n
	return w.turn(next, func() error {
		return w.api.Delete(w.t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
	})
}

func (w *world) deletePodsOn(name string) {
	for {
		pod, ok := pick(w, w.now.Pods, byName, func(_ model.Name, p model.Pod) bool { return p.Node == name })
		if !ok || !w.deletePod(pod) {
			return
		}
	}
}

// nodeJoins has a node that did not say which machine it is say so.
func (w *world) nodeJoins() bool {
	name, ok := pick(w, w.now.Nodes, strings.Compare, func(_ string, n model.Node) bool { return !n.Gone && n.Machine == "" && !n.Outside })
	machine := one(w, w.names.sets)
	if !ok || w.missing[strings.ToLower(machine)] {
		return false
	}
	next := w.now.Clone()
	n := next.Nodes[name]
	n.Machine, n.Known = strings.ToLower(machine), false
	next.Nodes[name] = n
	id := w.names.providerID(w.r, n.Machine)
	w.say("node %s has providerID %s", name, id)
	return w.turn(next, func() error {
		return edit(w, &corev1.Node{}, "", name, func(o *corev1.Node) { o.Spec.ProviderID = id })
	})
}
