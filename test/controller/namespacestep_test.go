package controller_test

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/test/controller/model"
)

// namespaceGoes deletes a namespace with all that is in it, kind by kind in any
// order, as the controllers of a cluster do, which are not here. It may come back.
func (w *world) namespaceGoes() bool {
	ns := one(w, w.names.namespaces)
	w.say("namespace %s goes", ns)
	o := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}
	if err := w.api.Delete(w.t.Context(), o); err != nil {
		w.fail(err)
		return false
	}
	kinds := kindsOfPeople()
	w.r.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	kinds = append(kinds, &v1.AzureAssignedIdentity{}) // what mic has made meanwhile
	for _, kind := range kinds {
		next := w.now.Clone()
		here := func(n model.Name) bool { return n.Namespace == ns }
		switch kind.(type) {
		case *corev1.Pod:
			maps.DeleteFunc(next.Pods, func(n model.Name, _ model.Pod) bool { return here(n) })
		case *v1.AzureIdentity:
			maps.DeleteFunc(next.Identities, func(n model.Name, _ model.Identity) bool { return here(n) })
		case *v1.AzureIdentityBinding:
			maps.DeleteFunc(next.Bindings, func(n model.Name, _ model.Binding) bool { return here(n) })
		}
		if !w.turn(next, func() error {
			return w.api.DeleteAllOf(w.t.Context(), kind, client.InNamespace(ns), client.GracePeriodSeconds(0))
		}) {
			return false
		}
	}
	next := w.now.Clone()
	delete(next.Speaks, ns)
	return w.turn(next, func() error {
		if err := w.api.Get(w.t.Context(), client.ObjectKey{Name: ns}, o); err != nil {
			return err
		}
		o.Spec.Finalizers = nil
		if err := w.api.SubResource("finalize").Update(w.t.Context(), o); err != nil {
			return err
		}
		w.say("namespace %s comes back", ns)
		return w.api.Create(w.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
	})
}
