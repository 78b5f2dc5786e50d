package controller_test

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/test/controller/model"
)

// edit changes an object, whoever else writes it.
func edit[T client.Object](w *world, o T, namespace, name string, change func(T)) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if err := w.api.Get(w.t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, o); err != nil {
			return err
		}
		change(o)
		return w.api.Update(w.t.Context(), o)
	})
}

// livingNode reports whether pods can be scheduled on a node.
func livingNode(_ string, n model.Node) bool { return !n.Gone }

func (w *world) podComes() bool {
	name := model.Name{Namespace: one(w, w.names.namespaces), Name: one(w, w.names.pods)}
	node := ""
	if w.r.IntN(5) > 0 {
		var ok bool
		if node, ok = pick(w, w.now.Nodes, strings.Compare, livingNode); !ok {
			return false
		}
	}
	return w.makePod(name, node, w.someLabel())
}

// someLabel is the label of a pod; nil for none.
func (w *world) someLabel() *string {
	switch w.r.IntN(10) {
	case 0, 1:
		return nil
	case 2:
		return new("")
	default:
		return new(one(w, w.names.selectors))
	}
}

func (w *world) makePod(name model.Name, node string, label *string) bool {
	w.t.Helper()
	if _, there := w.now.Pods[name]; there {
		return false
	}
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "main", Image: "example.com/app"}}},
	}
	read := model.Pod{Name: name, Node: node, Shown: map[string]string{}}
	if label != nil {
		p.Labels = map[string]string{v1.LabelBinding: *label}
		read.Labelled, read.Label = true, *label
	}
	err := w.api.Create(w.t.Context(), p)
	if apierrors.IsForbidden(err) { // a new namespace has no service account yet
		return true
	}
	if err != nil {
		w.fail(err)
		return false
	}
	read.UID = string(p.UID)
	next := w.now.Clone()
	next.Pods[name] = read
	w.extend(next)
	w.say("pod %s on %q, label %s", name, node, text(label))
	return true
}

func text(label *string) string {
	if label == nil {
		return "none"
	}
	return `"` + *label + `"`
}

func (w *world) podScheduled() bool {
	name, ok := pick(w, w.now.Pods, byName, func(_ model.Name, p model.Pod) bool { return p.Node == "" && !p.Ended })
	node, found := pick(w, w.now.Nodes, strings.Compare, livingNode)
	if !ok || !found {
		return false
	}
	w.say("pod %s is scheduled on %s", name, node)
	next := w.now.Clone()
	p := next.Pods[name]
	p.Node = node
	next.Pods[name] = p
	return w.turn(next, func() error {
		o := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}
		return w.api.SubResource("binding").Create(w.t.Context(), o, &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: node}})
	})
}

func (w *world) podEnds() bool {
	name, ok := pick(w, w.now.Pods, byName, func(_ model.Name, p model.Pod) bool { return p.Node != "" && !p.Ended })
	if !ok {
		return false
	}
	phase := one(w, []corev1.PodPhase{corev1.PodSucceeded, corev1.PodFailed})
	w.say("pod %s: %s", name, phase)
	next := w.now.Clone()
	p := next.Pods[name]
	p.Ended = true
	next.Pods[name] = p
	return w.turn(next, func() error {
		o := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}
		return w.api.Status().Patch(w.t.Context(), o, client.RawPatch("application/merge-patch+json", []byte(`{"status":{"phase":"`+string(phase)+`"}}`)))
	})
}

func (w *world) podGoes() bool {
	name, ok := pick(w, w.now.Pods, byName, there)
	return ok && w.deletePod(name)
}

func (w *world) deletePod(name model.Name) bool {
	w.say("pod %s goes", name)
	next := w.now.Clone()
	delete(next.Pods, name)
	return w.turn(next, func() error {
		o := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}
		return client.IgnoreNotFound(w.api.Delete(w.t.Context(), o, client.GracePeriodSeconds(0)))
	})
}

// podMoves is what happens to a pod of a StatefulSet: it comes back with the same
// name, on another node, or in another namespace.
func (w *world) podMoves() bool {
	name, ok := pick(w, w.now.Pods, byName, there)
	node, found := pick(w, w.now.Nodes, strings.Compare, livingNode)
	if !ok || !found {
		return false
	}
	before := w.now.Pods[name]
	var label *string
	if before.Labelled {
		label = &before.Label
	}
	if !w.deletePod(name) {
		return false
	}
	if w.r.IntN(3) == 0 {
		name.Namespace = one(w, w.names.namespaces)
	}
	w.makePod(name, node, label)
	return true
}

func (w *world) podRelabelled() bool {
	name, ok := pick(w, w.now.Pods, byName, there)
	if !ok {
		return false
	}
	label := w.someLabel()
	w.say("pod %s has label %s", name, text(label))
	next := w.now.Clone()
	p := next.Pods[name]
	p.Labelled, p.Label = label != nil, ""
	if label != nil {
		p.Label = *label
	}
	next.Pods[name] = p
	return w.turn(next, func() error {
		return edit(w, &corev1.Pod{}, name.Namespace, name.Name, func(o *corev1.Pod) {
			delete(o.Labels, v1.LabelBinding)
			if label != nil {
				metav1.SetMetaDataLabel(&o.ObjectMeta, v1.LabelBinding, *label)
			}
		})
	})
}

func (w *world) namespaceSpeaks() bool {
	ns, binding := one(w, w.names.namespaces), one(w, append([]string{""}, w.names.defined...))
	w.say("namespace %s names the binding %q", ns, binding)
	next := w.now.Clone()
	next.Speaks[ns] = binding
	return w.turn(next, func() error {
		return edit(w, &corev1.Namespace{}, "", ns, func(o *corev1.Namespace) {
			delete(o.Annotations, v1.AnnotationNamespaceBinding)
			if binding != "" {
				metav1.SetMetaDataAnnotation(&o.ObjectMeta, v1.AnnotationNamespaceBinding, binding)
			}
		})
	})
}
