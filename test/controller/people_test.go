package controller_test

import (
	"maps"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/podid-io/podid/test/controller/model"
)

// turn has people change something: next is what the cluster comes to. While it is
// written, needed is only what is needed before and after.
func (w *world) turn(next model.Cluster, write func() error) bool {
	w.t.Helper()
	want := next.Want()
	w.lessen(want)
	forget := w.name(next)
	if err := write(); err != nil {
		if !apierrors.IsConflict(err) {
			w.fail(err)
		}
		w.lessen(w.now.Want())
		w.extend(w.now)
		forget()
		return false
	}
	w.extend(next)
	return true
}

// name takes note of the identities that the cluster names, before it does: a mic may
// hear of it at once. Where nothing comes of it forget takes back what was new.
func (w *world) name(next model.Cluster) (forget func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := maps.Clone(w.named)
	for _, i := range next.Identities {
		w.named[i.Resource] = true
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.named = before // nobody else names
	}
}

// lessen takes note of reasons that end. A machine that needs less may be changed
// for that.
func (w *world) lessen(want model.Want) {
	w.mu.Lock()
	defer w.mu.Unlock()
	changed := map[string]bool{}
	for place, reasons := range w.needs {
		before := len(reasons)
		maps.DeleteFunc(reasons, func(r model.Reason, _ time.Time) bool { return !want.Why[place][r] })
		if _, already := w.fewer[place]; len(reasons) < before && !already {
			w.fewer[place] = time.Now()
		}
		if len(reasons) == 0 {
			delete(w.needs, place)
			changed[place.Machine] = true
		}
	}
	for machine := range changed {
		w.allow(machine, 1)
	}
}

// extend takes note of what the cluster is now, and of the reasons that begin.
func (w *world) extend(next model.Cluster) {
	w.mu.Lock()
	defer w.mu.Unlock()
	want := next.Want()
	next.Forget(want)
	w.now = next
	changed := map[string]bool{}
	for place, reasons := range want.Why {
		if w.needs[place] == nil {
			w.needs[place] = map[model.Reason]time.Time{}
			changed[place.Machine] = true
		}
		for r := range reasons {
			if _, already := w.needs[place][r]; !already {
				w.needs[place][r] = time.Now()
			}
		}
	}
	for machine, needs := range want.Needs { // what mic may bring there, or take off
		for id, n := range needs {
			if n == model.Maybe && !w.maybe[model.Place{Machine: machine, Identity: id}] {
				w.maybe[model.Place{Machine: machine, Identity: id}] = true
				w.allow(machine, 2)
			}
		}
	}
	for machine := range changed {
		w.allow(machine, 1)
	}
}

// pick is one of the keys of a map that meets a condition, always the same for the
// same story; false for none.
func pick[K comparable, V any](w *world, m map[K]V, cmp func(K, K) int, cond func(K, V) bool) (K, bool) {
	var keys []K
	for k, v := range m {
		if cond(k, v) {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		var none K
		return none, false
	}
	slices.SortFunc(keys, cmp)
	return keys[w.r.IntN(len(keys))], true
}

func one[T any](w *world, list []T) T { return list[w.r.IntN(len(list))] }
