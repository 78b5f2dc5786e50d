package controller_test

import (
	"cmp"
	"slices"
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
		{"a pod comes", 30, (*world).podComes},
		{"a pod is scheduled", 6, (*world).podScheduled},
		{"a pod ends", 5, (*world).podEnds},
		{"a pod goes", 12, (*world).podGoes},
		{"a pod comes back elsewhere", 6, (*world).podMoves},
		{"a pod gets another label", 4, (*world).podRelabelled},
		{"a namespace speaks for its pods", 4, (*world).namespaceSpeaks},
		{"a namespace goes and comes back", 1, (*world).namespaceGoes},
		{"a binding comes", 20, (*world).bindingComes},
		{"a binding is edited", 5, (*world).bindingEdited},
		{"a binding goes", 2, (*world).bindingGoes},
		{"an identity comes", 20, (*world).identityComes},
		{"an identity is edited", 5, (*world).identityEdited},
		{"an identity is edited, and means the same", 4, (*world).identityRespelled},
		{"an identity goes", 1, (*world).identityGoes},
		{"a node comes", 5, (*world).nodeComes},
		{"a node goes", 3, (*world).nodeGoes},
		{"a node says which machine it is", 2, (*world).nodeJoins},
		{"a machine goes", 1, (*world).machineGoes},
		{"a machine comes", 3, (*world).machineComes},
		{"somebody deletes an object", 2, (*world).somebodyDeletes},
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
	for _, has := range []struct {
		what func() int
		n    int
		more func(*world) bool
	}{
		{func() int { return len(w.now.Nodes) }, 6, (*world).nodeComes},
		{func() int { return len(w.now.Identities) }, 6, (*world).identityComes},
		{func() int { return len(w.now.Bindings) }, 6, (*world).bindingComes},
		{func() int { return len(w.now.Pods) }, 7, (*world).podComes},
	} {
		for has.what() < has.n && w.wrongs() == nil {
			has.more(w)
		}
	}
}

// happen has n things happen.
func (w *world) happen(n int) {
	w.t.Helper()
	all := steps()
	total := 0
	for i := range all {
		if slices.Contains(w.plant.often, all[i].name) {
			all[i].weight += 30
		}
		total += all[i].weight
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
