package assignment

import (
	"maps"

	"github.com/podid-io/podid/internal/assign"
)

// touched says what of a scope is to be looked at: some pods, or everything.
type touched struct {
	all  bool
	pods owners
	// epoch is when it was taken; see Reconciler. suspects are those of pods of
	// whom no event has told; see check.
	epoch    int64
	suspects owners
}

// owners is a set.
type owners map[assign.Owner]struct{}

func setOf(list []assign.Owner) owners {
	set := make(owners, len(list))
	for _, o := range list {
		set[o] = struct{}{}
	}
	return set
}

func (o owners) has(owner assign.Owner) bool {
	_, ok := o[owner]
	return ok
}

// touches are what events have touched, by scope.
type touches map[assign.Scope]owners

func (t touches) add(scope assign.Scope, owner assign.Owner) {
	if t[scope] == nil {
		t[scope] = make(owners, 1)
	}
	t[scope][owner] = struct{}{}
}

// touch takes note that pods of a scope are to be looked at the next time that
// it is. Of a scope that is not known everything is, and need not be kept.
func (r *Reconciler) touch(scope assign.Scope, pods owners) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.scopes[scope]; !known || len(pods) == 0 {
		return
	}
	if r.pending[scope] == nil {
		r.pending[scope] = make(owners, len(pods))
	}
	maps.Copy(r.pending[scope], pods)
}

// portion is how many pods of the backlog are looked at at once: about what can be
// written in one turn.
const portion = 500

// take takes over what has been touched of a scope, and a portion of the backlog.
func (r *Reconciler) take(scope assign.Scope, s *state) touched {
	r.mu.Lock()
	pods, epoch := r.pending[scope], r.epoch
	delete(r.pending, scope)
	r.mu.Unlock()
	if pods == nil {
		pods = make(owners)
	}
	for o := range s.backlog {
		if len(pods) >= portion {
			break
		}
		pods[o] = struct{}{}
	}
	for o := range pods {
		delete(s.backlog, o)
	}
	return touched{all: s.epoch != epoch, pods: pods, epoch: epoch, suspects: s.check.take(pods)}
}

// giveBack is for what was taken over and could not be looked at. Suspects whose
// time had not come were not taken.
func (r *Reconciler) giveBack(scope assign.Scope, s *state, t touched) {
	for o := range t.suspects {
		delete(t.pods, o) // of whom no event has told
	}
	if t.suspects != nil {
		s.check.suspects = t.suspects
	}
	r.touch(scope, t.pods)
}

// doubt has all scopes looked at wholly: it is not known what was touched.
func (r *Reconciler) doubt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.epoch++
	for scope := range r.scopes {
		r.queue.Add(scope)
	}
}
