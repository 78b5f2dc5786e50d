package assignment

import (
	"context"
	"time"

	"github.com/podid-io/podid/internal/assign"
)

// change starts a PATCH when one is needed and it is time, else it says when to
// look again.
func (r *Reconciler) change(ctx context.Context, scope assign.Scope, s *state, c assign.Changes) later {
	if s.flight != nil {
		s.flight.notice(c)
		return later{} // its end is an event
	}
	if err := r.forgo(ctx, scope, s, c.Forget); err != nil {
		return later{err: err}
	}
	var warm later
	if !c.Next.IsZero() {
		warm.wait = max(time.Until(c.Next), time.Millisecond)
	}
	if s.doubted { // before anything else
		if wait := time.Until(s.retryAt); wait > 0 {
			warm.add(later{wait: wait})
			return warm
		}
		return later{err: r.launch(ctx, scope, s, assign.Changes{})}
	}
	steps, due := s.refusals.Next(c, time.Now())
	r.quarantined(scope, s)
	if !due.IsZero() {
		warm.add(later{wait: max(time.Until(due), time.Millisecond)})
	}
	if len(c.Attach)+len(c.Detach) == 0 {
		s.needed, s.problem, s.failures, s.retryAt = window{}, nil, 0, time.Time{}
		clear(s.absent)
		r.troubles.set(scope, nil)
		return warm
	}
	if len(steps) == 0 { // all are in quarantine
		s.needed = window{}
		return warm
	}
	s.needed.notice(c, time.Now())
	if err := r.revive(ctx, scope, s); err != nil {
		return later{err: err}
	}
	if wait := max(time.Until(s.needed.over(r.config.Window)), time.Until(s.retryAt)); wait > 0 {
		warm.add(later{wait: wait})
		return warm
	}
	if scope == (assign.Scope{}) {
		if s.problem == nil {
			s.problem = errOutside
			r.touch(scope, setOf(s.machine.OwnersOf(c.Attach))) // who are told
			warm.add(later{wait: time.Millisecond})
		}
		return warm
	}
	now := s.inTime(c.Only(steps))
	if len(now.Attach)+len(now.Detach) == 0 {
		return warm
	}
	return later{err: r.launch(ctx, scope, s, now)}
}

// revive has a scope that was not found tried at once when it has a Node, whose
// coming has it looked at.
func (r *Reconciler) revive(ctx context.Context, scope assign.Scope, s *state) error {
	if !s.alone {
		return nil
	}
	some, err := r.anyNode(ctx, scope)
	if some {
		s.alone, s.retryAt, s.failures = false, time.Time{}, 0
	}
	return err
}

// quarantined takes note of how many identities are in quarantine.
func (r *Reconciler) quarantined(scope assign.Scope, s *state) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := s.refusals.Quarantined(); n > 0 {
		r.refused[scope] = n
	} else {
		delete(r.refused, scope)
	}
}

// forgo takes identities off the record that concern nobody any more, and writes
// it down where it is not yet.
func (r *Reconciler) forgo(ctx context.Context, scope assign.Scope, s *state, ids []string) error {
	if len(ids) == 0 && !s.unsaved {
		return nil
	}
	o := r.saved(ctx, scope, outcome{made: s.made, kept: s.kept}, s.machine.Record().Without(ids))
	r.learn(scope, s, o)
	return o.err
}

// learn takes up what is known of the identities of a scope, and has the pods
// looked at that this concerns.
func (r *Reconciler) learn(scope assign.Scope, s *state, o outcome) {
	if o.made != s.made { // what was said was of another
		clear(s.absent)
	}
	changed := s.machine.Learn(o.record, time.Now())
	s.kept, s.made, s.unsaved = o.kept, o.made, !o.isKept()
	r.touch(scope, setOf(s.machine.OwnersOf(changed)))
}
