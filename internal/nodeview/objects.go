package nodeview

import (
	"slices"

	"github.com/podid-io/podid/internal/identity"
)

func (v *View) setIdentity(id identity.Identity) {
	v.change(func() { v.identities[name{id.Namespace, id.Name}] = id })
}

func (v *View) deleteIdentity(n name) {
	v.change(func() { delete(v.identities, n) })
}

func (v *View) setBinding(b identity.Binding) {
	v.change(func() {
		v.dropBinding(name{b.Namespace, b.Name})
		v.bindings[name{b.Namespace, b.Name}] = b
		if b.Selector != "" {
			v.bySelector[b.Selector] = append(v.bySelector[b.Selector], b)
		}
	})
}

func (v *View) deleteBinding(n name) {
	v.change(func() { v.dropBinding(n) })
}

// dropBinding forgets a binding. v.mu is held.
func (v *View) dropBinding(n name) {
	b, ok := v.bindings[n]
	if !ok {
		return
	}
	delete(v.bindings, n)
	v.bySelector[b.Selector] = slices.DeleteFunc(slices.Clone(v.bySelector[b.Selector]), func(x identity.Binding) bool {
		return x.Namespace == n.namespace && x.Name == n.name
	})
	if len(v.bySelector[b.Selector]) == 0 {
		delete(v.bySelector, b.Selector)
	}
}

func (v *View) setException(e identity.Exception) {
	v.change(func() {
		v.dropException(name{e.Namespace, e.Name})
		v.exceptions[e.Namespace] = append(v.exceptions[e.Namespace], e)
	})
}

func (v *View) deleteException(n name) {
	v.change(func() { v.dropException(n) })
}

// dropException forgets an AzurePodIdentityException. v.mu is held.
func (v *View) dropException(n name) {
	left := slices.DeleteFunc(slices.Clone(v.exceptions[n.namespace]), func(e identity.Exception) bool { return e.Name == n.name })
	if len(left) == 0 {
		delete(v.exceptions, n.namespace)
		return
	}
	v.exceptions[n.namespace] = left
}

// setNamespace records which binding a namespace's annotation names; empty means
// none.
func (v *View) setNamespace(namespace, binding string) {
	v.change(func() {
		if binding == "" {
			delete(v.annotated, namespace)
			return
		}
		v.annotated[namespace] = binding
	})
}

func (v *View) setAssigned(n name, a assignment) {
	v.change(func() {
		v.dropAssigned(n)
		v.assigned[n] = a
		if v.byPod[a.pod] == nil {
			v.byPod[a.pod] = make(map[name]assignment)
		}
		v.byPod[a.pod][n] = a
	})
}

func (v *View) deleteAssigned(n name) {
	v.change(func() { v.dropAssigned(n) })
}

// dropAssigned forgets an AzureAssignedIdentity. v.mu is held.
func (v *View) dropAssigned(n name) {
	a, ok := v.assigned[n]
	if !ok {
		return
	}
	delete(v.assigned, n)
	delete(v.byPod[a.pod], n)
	if len(v.byPod[a.pod]) == 0 {
		delete(v.byPod, a.pod)
	}
}

// setSynced says that everything there was at the start is in the view. Pods of
// which the API server has not told by now are no more.
func (v *View) setSynced() {
	v.change(func() { v.synced, v.memory = true, nil })
	v.remember()
}

// without returns a copy of list without its element x, so that no slice that
// somebody was given changes under him.
func without[T comparable](list []T, x T) []T {
	out := make([]T, 0, len(list))
	for _, e := range list {
		if e != x {
			out = append(out, e)
		}
	}
	return out
}
