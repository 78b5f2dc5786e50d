package controller_test

import (
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
	if err := write(); err != nil {
		if !apierrors.IsConflict(err) {
			w.fail(err)
		}
		w.lessen(w.now.Want())
		w.extend(w.now)
		return false
	}
	w.extend(next)
	return true
}

// lessen takes note of needs that end. A machine whose needs have become fewer may
// be changed for that.
func (w *world) lessen(want model.Want) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for machine, needs := range w.needs {
		fewer := false
		for id := range needs {
			if want.Needs[machine][id] != model.None {
				continue
			}
			fewer = true
			delete(needs, id)
			if w.ended[machine] == nil {
				w.ended[machine] = map[string]time.Time{}
			}
			w.ended[machine][id] = time.Now()
		}
		if fewer {
			w.allow(1)
		}
	}
}

// extend takes note of what the cluster is now, and of the needs that begin.
func (w *world) extend(next model.Cluster) {
	w.mu.Lock()
	defer w.mu.Unlock()
	want := next.Want()
	next.Forget(want)
	w.now = next
	for machine, needs := range want.Needs {
		if w.needs[machine] == nil {
			w.needs[machine] = map[string]need{}
		}
		more := false
		for id, n := range needs {
			before, already := w.needs[machine][id]
			if !already {
				before.since, more = time.Now(), true
			}
			w.needs[machine][id] = need{since: before.since, sure: n == model.Sure}
		}
		if more {
			w.allow(1)
		}
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
