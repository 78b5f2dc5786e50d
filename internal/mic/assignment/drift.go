package assignment

import (
	"context"
	"time"

	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/compute"
)

// Bounds of looking for drift.
const (
	// longestDrift is how long the time between two looks grows while nothing
	// changes behind podid's back.
	longestDrift = 30 * time.Minute
	// listTimeout bounds one list, in which requests wait for their turns; each has a
	// bound of its own.
	listTimeout = 15 * time.Minute
)

// Directions of drift, as labels: see assign.Drift.
const (
	lost    = "lost"
	nobodys = "gone"
	found   = "found"
)

// sight is what Azure showed of a scope in a list that was begun at a time.
type sight struct {
	state compute.State
	began time.Time
}

// watchDrift lists what is attached, from time to time, and has the scopes looked
// at that are shown. It returns when ctx ends.
func (r *Reconciler) watchDrift(ctx context.Context) {
	if r.config.Lister == nil || r.config.Drift < 0 {
		return
	}
	interval := r.config.Drift
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(jitter(interval)):
		}
		if interval = min(2*interval, max(longestDrift, r.config.Drift)); r.drifted.Swap(false) {
			interval = r.config.Drift
		}
		for g := range r.groups() {
			if err := r.list(ctx, g); err != nil && ctx.Err() == nil {
				r.config.Log.WarnContext(ctx, "it could not be read what is attached", "subscription", g.subscription, "resourceGroup", g.name, "err", err)
			}
		}
	}
}

// group is all VMs, or all scale sets, of a resource group.
type group struct {
	kind               assign.Kind
	subscription, name string
}

func groupOf(s assign.Scope) group { return group{s.Kind, s.Subscription, s.ResourceGroup} }

// groups are those of the scopes of which something is on record.
func (r *Reconciler) groups() map[group]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := make(map[group]bool)
	for scope := range r.sizes {
		if scope != (assign.Scope{}) {
			found[groupOf(scope)] = true
		}
	}
	return found
}

// list has the scopes of a group looked at with what Azure shows of them.
func (r *Reconciler) list(ctx context.Context, g group) error {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	began := time.Now()
	states, err := r.config.Lister.List(ctx, g.kind, g.subscription, g.name)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for scope, state := range states {
		if _, ours := r.sizes[scope]; ours {
			r.sights[scope] = sight{state, began}
			r.queue.Add(scope)
		}
	}
	return nil
}

// see takes up what a list showed of a scope, unless a PATCH has been under way
// since it was begun, or what it shows is not certain.
func (r *Reconciler) see(ctx context.Context, scope assign.Scope, s *state) {
	r.mu.Lock()
	seen, ok := r.sights[scope]
	delete(r.sights, scope)
	r.mu.Unlock()
	if !ok || s.flight != nil || !seen.began.After(s.landed) || !seen.state.Certain() {
		return
	}
	if now := (outcome{record: s.machine.Record(), made: s.made, kept: s.kept}); now.another(seen.state) {
		r.learn(scope, s, r.replaced(ctx, scope, now, seen.state))
		return
	}
	record, d := s.machine.Compare(seen.state.User)
	if d.Empty() {
		return
	}
	r.drifted.Store(true)
	for direction, ids := range map[string][]string{lost: d.Lost, nobodys: d.Gone, found: d.Found} {
		r.metrics.drift.WithLabelValues(direction).Add(float64(len(ids)))
	}
	r.config.Log.WarnContext(ctx, "somebody else has changed what is attached", "scope", scope.ID(), "lost", d.Lost, "gone", d.Gone, "found", d.Found)
	r.learn(scope, s, outcome{record: record, made: s.made, kept: s.kept})
}
