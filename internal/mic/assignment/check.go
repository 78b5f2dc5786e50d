package assignment

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/internal/assign"
)

// check is for what events did not tell. A scope is looked at wholly from time to
// time; pods for whom there is something to do are suspects. Those of whom an
// event tells soon after have only been looked at too early. The others were
// missed, which is a fault of ours: it is put right, logged and counted.
type check struct {
	due      time.Time
	suspects owners
	at       time.Time // when what is left of them has been missed
	// late are pods with a write of ours that the cache did not show in time. Until
	// then their events are as late, and not missed.
	late map[assign.Owner]time.Time
}

// overdue is how late an event may be where the cache is late.
const overdue = time.Minute

// settle is [unseen.settle], and takes note of where the cache was late.
func (s *state) settle(ctx context.Context, cache client.Reader, t touched) (held owners, wait time.Duration, err error) {
	held, late, wait, err := s.unseen.settle(ctx, cache, t)
	for o := range late {
		if s.check.late == nil {
			s.check.late = make(map[assign.Owner]time.Time, len(late))
		}
		s.check.late[o] = time.Now().Add(overdue)
	}
	return held, wait, err
}

// afterwards is how long an event may come after what it tells of is in the cache.
const afterwards = 10 * time.Second

// take adds the suspects to the pods that are looked at, when it is time. Those
// of whom an event has told are none any more.
func (c *check) take(pods owners) owners {
	for o := range pods {
		delete(c.suspects, o)
	}
	if len(c.suspects) == 0 || time.Now().Before(c.at) {
		return nil
	}
	missed := c.suspects
	c.suspects = nil
	for o := range missed {
		pods[o] = struct{}{}
	}
	return missed
}

// recheck looks at everything when it is time, and says when it is next. Suspects of
// the last time come first: they have as long as any to be told of.
func (r *Reconciler) recheck(ctx context.Context, scope assign.Scope, s *state, t touched) later {
	now := time.Now()
	c := &s.check
	if t.all || c.due.IsZero() {
		c.due = now.Add(jitter(r.config.Check))
	}
	if now.After(c.due) && s.flight == nil && len(c.suspects) == 0 {
		all := touched{all: true, epoch: s.epoch}
		held, _, err := s.settle(ctx, r.config.Cache, all)
		if err != nil {
			return later{err: err}
		}
		snapshot, err := r.snapshot(ctx, scope, s, all, held)
		if err != nil {
			return later{err: err}
		}
		c.suspects, c.at = s.todo(snapshot.Plan(), held), now.Add(afterwards)
		c.due = now.Add(jitter(r.config.Check))
		if len(c.late) > 0 { // they may have been passed over
			c.due = now.Add(jitter(min(overdue, r.config.Check)))
		}
	}
	switch {
	case len(c.suspects) > 0:
		return later{wait: max(c.at.Sub(now), time.Millisecond)}
	case now.After(c.due): // a PATCH is on its way, whose end has the scope looked at
		return later{}
	default:
		return later{wait: max(c.due.Sub(now), time.Millisecond)}
	}
}

// todo are the pods for whom there is anything to write or to take note of,
// beyond what waits for its turn or for the cache, also where that is late. Of pods
// that are not in the plan it is right only where the plan was made for them too.
func (s *state) todo(plan assign.Plan, held owners) owners {
	found := make(owners)
	for _, o := range slices.Concat(plan.Create, plan.Update, plan.Mark, plan.Delete) {
		found[ownerOf(o)] = struct{}{}
	}
	for o, ids := range plan.Needs {
		if !slices.Equal(ids, s.machine.Needs(o)) {
			found[o] = struct{}{}
		}
	}
	for _, o := range s.machine.Owners() {
		if _, needs := plan.Needs[o]; !needs {
			found[o] = struct{}{}
		}
	}
	for _, later := range []owners{s.backlog, held} {
		for o := range later {
			delete(found, o)
		}
	}
	for o, until := range s.check.late {
		if time.Now().After(until) {
			delete(s.check.late, o)
			continue
		}
		delete(found, o)
	}
	return found
}

// missed counts the suspects for whom there still is something to do.
func (r *Reconciler) missed(ctx context.Context, scope assign.Scope, s *state, t touched, plan assign.Plan, held owners) {
	if len(t.suspects) == 0 {
		return
	}
	for o := range s.todo(plan, held) {
		if t.suspects.has(o) {
			r.metrics.missed.Inc()
			r.config.Log.ErrorContext(ctx, "no event told of a change; this is a fault of mic's", "scope", scope.ID(), "pod", o.Namespace+"/"+o.Name)
		}
	}
}

// jitter is d and up to a fifth more.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration(rand.Int64N(int64(d/5)+1)) //nolint:gosec // jitter is no secret
}
