package assignment

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"runtime/debug"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/compute"
)

// flight is a PATCH under way.
type flight struct {
	started time.Time
	changes assign.Changes
	verify  bool          // whether the record is right, and nothing else
	done    chan struct{} // closed when outcome and stopped are set
	outcome outcome
	stopped bool // mic itself is being stopped
	// next is since when something else is needed; zero when nothing is.
	next time.Time
}

// notice takes note of what the next PATCH will be for.
func (f *flight) notice(c assign.Changes) {
	subset := func(of, ids []string) bool {
		return !slices.ContainsFunc(ids, func(id string) bool { return !slices.Contains(of, id) })
	}
	if f.next.IsZero() && (!subset(f.changes.Attach, c.Attach) || !subset(f.changes.Detach, c.Detach)) {
		f.next = time.Now()
	}
}

// outcome is what became of a PATCH: the record as it is now and the machine that
// it is of, what the API server has of it, what was sent, and why it failed.
type outcome struct {
	record      assign.Record
	made        string
	kept        kept
	add, remove []string
	there       map[string]bool // before
	done        []string        // of these, for certain
	withheld    []string        // not detached, since it is not known whether they may be
	stay        []string        // there, and never detached, or not known to be one that may be
	left        []string        // not sent yet, since there was something to tell before
	err         error
}

// Back-off after failures: how many times Config.Retry it is at most.
const (
	mostRetry = 120
	// mostConflict is for one that somebody else is changing, which ends soon: a
	// leader before, above all.
	mostConflict = 15
	// mostAlone is for a scope that is not found, and of which there is no Node.
	mostAlone = 1800
)

// launch has a PATCH run. Until it lands, what it may detach does not count as
// attached.
func (r *Reconciler) launch(ctx context.Context, scope assign.Scope, s *state, c assign.Changes) error {
	f := &flight{started: time.Now(), changes: c, verify: s.doubted, done: make(chan struct{})}
	before := outcome{record: maps.Clone(s.machine.Record()), made: s.made, kept: s.kept}
	job := func(ctx context.Context) {
		f.outcome = r.guarded(ctx, scope, before, f)
		f.stopped = ctx.Err() != nil
		close(f.done)
		r.queue.Add(scope)
	}
	select {
	case r.jobs <- job:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.flight = f
	s.machine.Mark(c.Detach, assign.Detaching, time.Now())
	return nil
}

// lastWords bounds the write of what became of a PATCH when mic is being stopped.
const lastWords = 10 * time.Second

// guarded is patch, of which a fault is a failure of this one scope: there are
// others that work.
func (r *Reconciler) guarded(ctx context.Context, scope assign.Scope, before outcome, f *flight) (o outcome) {
	defer func() {
		if fault := recover(); fault != nil {
			r.config.Log.ErrorContext(ctx, "a change of identities ended in a fault of mic's", "scope", scope.ID(), "fault", fault, "stack", string(debug.Stack()))
			o = before
			o.err = errors.New("a fault of mic's, which its log tells of")
		}
	}()
	if f.verify {
		return r.verify(ctx, scope, before)
	}
	return r.patch(ctx, scope, before, f.changes.Attach, f.changes.Detach)
}

// patch asks Azure what there is, writes down what it is about to do, does it,
// and writes that down. Where Azure has changed nothing for certain, the intents
// are taken back: an identity that appears from then on was attached by somebody
// else.
func (r *Reconciler) patch(ctx context.Context, scope assign.Scope, o outcome, attach, detach []string) outcome {
	present, err := r.config.Machines.Get(ctx, scope)
	if err != nil {
		o.err = err
		return o
	}
	if o.another(present) {
		o = r.replaced(ctx, scope, o, present)
		o.left = slices.Concat(attach, detach)
		return o
	}
	before := o.record
	o.made = cmp.Or(present.ID, o.made)
	before, detach, o.withheld = r.keepImmutable(ctx, scope, present, before, detach)
	intent, add, remove := before.Intend(present.User, present.Certain(), attach, detach)
	if len(add) < len(attach) && len(add)+len(remove) > 0 { // who need what is there are not to wait for the rest
		o.left = slices.Concat(add, remove)
		intent, add, remove = intent.Undo(before, o.left), nil, nil
	}
	if o = r.saved(ctx, scope, o, intent); o.err != nil {
		if !errors.Is(o.err, errRewritten) {
			o.record = before // nothing was done
		}
		return o
	}
	if len(add)+len(remove) == 0 {
		return o
	}
	o.add, o.remove, o.there, o.stay = add, remove, present.User, r.staying(present)
	// What Azure does not show is not there, whatever we meant to do before.
	undone := before.Without(slices.DeleteFunc(slices.Clone(add), func(id string) bool { return present.User[id] }))
	if present.User = maps.Clone(present.User); present.User == nil {
		present.User = make(map[string]bool, len(remove))
	}
	for _, id := range add {
		delete(present.User, id) // so that it is sent, also where it is shown but not certain
	}
	for _, id := range remove {
		present.User[id] = true // likewise, where it is not shown
	}
	changes, err := r.config.Machines.Update(ctx, scope, present, add, remove)
	o.done = changes.Done
	// Not ended by ctx: an intent that stays without reason would make an identity
	// ours that somebody else attaches.
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	o = r.saved(bounded, scope, o, intent.Done(changes.Done).Undo(undone, changes.Not))
	o.err = errors.Join(err, o.err)
	return o
}

// saved is o after the record has been written down, or replaced by the one that
// somebody else wrote.
func (r *Reconciler) saved(ctx context.Context, scope assign.Scope, o outcome, record assign.Record) outcome {
	o.record = record
	if o.isKept() {
		return o
	}
	o.kept, o.err = r.records.save(ctx, scope, record, o.made, o.kept)
	if errors.Is(o.err, errRewritten) {
		o.record, o.made = maps.Clone(o.kept.record), o.kept.made
	}
	return o
}

// land takes up the outcome of a PATCH that has ended.
func (r *Reconciler) land(ctx context.Context, scope assign.Scope, s *state) error {
	f := s.flight
	if f == nil {
		return nil
	}
	select {
	case <-f.done:
	default:
		return nil
	}
	err := f.outcome.err
	alone, lookErr := r.alone(ctx, scope, err, r.nodesInCache)
	if lookErr != nil {
		return lookErr
	}
	s.flight, s.landed = nil, time.Now()
	o := f.outcome
	if alone && gone(err) {
		o.record = assign.Record{}
	}
	r.learn(scope, s, s.regained(o))
	log := r.config.Log.With("scope", scope.ID(), "attach", o.add, "detach", o.remove, "dur", time.Since(f.started))
	if f.stopped { // there is no next time
		return nil
	}
	if err == nil {
		s.failures, s.retryAt, s.problem, s.needed = 0, time.Time{}, nil, opened(f.next)
		if len(o.left) > 0 {
			s.needed = opened(f.started)
		}
		s.refusals.Done(f.changes.Only(o.ended(f.changes)).Steps(), time.Now())
		s.withhold(o.withheld)
		if f.verify { // those who waited for that
			s.doubted = false
			clear(s.absent)
			r.touch(scope, setOf(s.machine.Owners()))
		}
		r.troubles.set(scope, nil)
		if len(o.add)+len(o.remove) > 0 {
			clear(s.absent)
			log.InfoContext(ctx, "identities changed")
		}
		return nil
	}
	if s.refuse(f, o) { // of one identity, or some: the rest is sent at once
		s.failures, s.retryAt, s.problem, s.needed = 0, time.Time{}, nil, opened(f.started)
		log.WarnContext(ctx, "identities refused", "err", err)
	} else {
		s.alone = alone
		wait := max(backOff(r.config.Retry, s.failures, err, most(err, alone)), s.untilAgain(err))
		s.failures, s.retryAt, s.problem = s.failures+1, time.Now().Add(wait), err
		log.WarnContext(ctx, "identities not changed", "retry", wait, "err", err)
	}
	r.troubles.set(scope, err)
	missing := s.machine.Plan(time.Now(), r.config.KeepWarm)
	waiting := s.machine.OwnersOf(slices.Concat(missing.Attach, missing.Detach)) // of the latter, those of what is lost
	if s.doubted {
		waiting = s.machine.Owners()
	}
	r.touch(scope, setOf(waiting)) // who are told
	return nil
}

// alone reports whether Azure knows nothing of the scope, or of what it is in, and
// no Node says otherwise. Who has no right to see it, or asks the wrong cloud, is
// told the same.
func (r *Reconciler) alone(ctx context.Context, scope assign.Scope, err error, nodes func(context.Context, assign.Scope) (int, error)) (bool, error) {
	if e, ok := errors.AsType[*compute.Error](err); !ok || e.Kind != compute.NotFound {
		return false, nil
	}
	n, err := nodes(ctx, scope)
	return err == nil && n == 0, err
}

// gone reports whether Azure says of the scope itself that it does not exist.
func gone(err error) bool {
	e, ok := errors.AsType[*compute.Error](err)
	return ok && e.Gone
}

// nodesInCache counts the nodes of a scope.
func (r *Reconciler) nodesInCache(ctx context.Context, scope assign.Scope) (int, error) {
	var nodes corev1.NodeList
	err := r.config.Cache.List(ctx, &nodes, client.MatchingFields{nodeByScope: scope.ID()})
	return len(nodes.Items), err
}

// most is how many times the first wait is waited at most after a failure.
func most(err error, alone bool) int {
	if e, ok := errors.AsType[*compute.Error](err); ok && e.Kind == compute.Conflict && !e.Lasting {
		return mostConflict
	}
	if alone {
		return mostAlone
	}
	return mostRetry
}

// backOff is how long to wait after the n-th failure in a row (from 0): twice as
// long each time up to most times the first, and not less than Azure asks for.
// Jitter of a fifth.
func backOff(first time.Duration, n int, err error, most int) time.Duration {
	wait := first * time.Duration(min(1<<min(n, 20), most))
	if e, ok := errors.AsType[*compute.Error](err); ok {
		wait = max(wait, e.RetryAfter)
	}
	return jitter(wait)
}
