package controller_test

import (
	"cmp"
	"time"

	"github.com/podid-io/podid/test/controller/model"
)

// step is one thing that can happen. It returns false when it cannot now.
type step struct {
	name   string
	weight int
	do     func(*world) bool
}

// steps are all that can happen.
func steps() []step {
	return []step{
		{"a pod comes", 26, (*world).podComes},
		{"a pod is scheduled", 6, (*world).podScheduled},
		{"a pod ends", 5, (*world).podEnds},
		{"a pod goes", 12, (*world).podGoes},
		{"a pod comes back elsewhere", 6, (*world).podMoves},
		{"a pod gets another label", 4, (*world).podRelabelled},
		{"a namespace speaks for its pods", 4, (*world).namespaceSpeaks},
		{"a namespace goes and comes back", 1, (*world).namespaceGoes},
		{"a binding comes", 14, (*world).bindingComes},
		{"a binding is edited", 5, (*world).bindingEdited},
		{"a binding goes", 2, (*world).bindingGoes},
		{"an identity comes", 14, (*world).identityComes},
		{"an identity is edited", 5, (*world).identityEdited},
		{"an identity is edited, and means the same", 4, (*world).identityRespelled},
		{"an identity goes", 2, (*world).identityGoes},
		{"a node comes", 5, (*world).nodeComes},
		{"a node goes", 3, (*world).nodeGoes},
		{"somebody assigns an identity", 4, (*world).somebodyAssigns},
		{"somebody removes an identity", 3, (*world).somebodyRemoves},
		{"Azure refuses an identity", 2, (*world).identityRefused},
		{"Azure takes an identity again", 3, (*world).identityTaken},
		{"something goes wrong in Azure", 10, (*world).azureFails},
		{"something goes wrong at the API server", 8, (*world).clusterFails},
		{"a mic dies", 3, (*world).micDies},
		{"a mic will die at a request", 2, (*world).micWillDie},
		{"a mic is replaced", 1, (*world).micReplaced},
		{"nothing happens", 30, (*world).pause},
	}
}

// found makes a cluster that is in use.
func (w *world) found() {
	w.t.Helper()
	for range 5 {
		w.nodeComes()
		w.identityComes()
		w.bindingComes()
		w.identityComes()
		w.bindingComes()
		w.podComes()
	}
}

// happen has n things happen.
func (w *world) happen(n int) {
	w.t.Helper()
	all := steps()
	total := 0
	for _, s := range all {
		total += s.weight
	}
	for done := 0; done < n && w.wrongs() == nil; {
		at := w.r.IntN(total)
		i := 0
		for ; at >= all[i].weight; i++ {
			at -= all[i].weight
		}
		if all[i].do(w) {
			done++
			w.count.Steps++
			w.bury()
		}
	}
}

// pause lets the mics work for a moment.
func (w *world) pause() bool {
	timer := time.NewTimer(time.Duration(w.r.IntN(600)) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.t.Context().Done():
	}
	return true
}

func byName(x, y model.Name) int {
	return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
}

// there is a condition that is always met.
func there[K, V any](K, V) bool { return true }
