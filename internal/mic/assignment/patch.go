package assignment

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/compute"
)

// flight is a PATCH under way.
type flight struct {
	started        time.Time
	attach, detach []string
	done           chan struct{} // closed when outcome is set
	outcome        outcome
	// next is since when something else is needed; zero when nothing is.
	next time.Time
}

// notice takes note of what the next PATCH will be for.
func (f *flight) notice(plan assign.Plan) {
	subset := func(of, ids []string) bool {
		return !slices.ContainsFunc(ids, func(id string) bool { return !slices.Contains(of, id) })
	}
	if f.next.IsZero() && (!subset(f.attach, plan.Attach) || !subset(f.detach, plan.Detach)) {
		f.next = time.Now()
	}
}

// outcome is what became of a PATCH: the record as it is now, what of it has
// been saved, what was sent, and why it failed.
type outcome struct {
	record, saved assign.Record
	version       string
	add, remove   []string
	err           error
}

// Back-off after failures.
const (
	firstRetry   = time.Second
	longestRetry = 2 * time.Minute
)

// launch has a PATCH run. Until it lands, what it may detach does not count as
// attached.
func (r *Reconciler) launch(ctx context.Context, scope assign.Scope, s *state, plan assign.Plan) error {
	f := &flight{started: time.Now(), attach: plan.Attach, detach: plan.Detach, done: make(chan struct{})}
	before := outcome{record: maps.Clone(s.record), saved: s.saved, version: s.version}
	job := func(ctx context.Context) {
		f.outcome = r.patch(ctx, scope, before, f.attach, f.detach)
		close(f.done)
		r.queue.Add(scope)
	}
	select {
	case r.jobs <- job:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.flight = f
	for _, id := range f.detach {
		s.record[id] = assign.Detaching
	}
	return nil
}

// patch asks Azure what there is, writes down what it is about to do, does it,
// and writes that down.
func (r *Reconciler) patch(ctx context.Context, scope assign.Scope, o outcome, attach, detach []string) outcome {
	before := o.record
	present, err := r.config.Machines.Get(ctx, scope)
	if err != nil {
		return o.failed(err)
	}
	intent, add, remove := before.Intend(present.User, attach, detach)
	if o = r.saved(ctx, scope, o, intent); o.err != nil {
		o.record = before // nothing was done
		return o
	}
	if len(add)+len(remove) == 0 {
		return o
	}
	o.add, o.remove = add, remove
	if err := r.config.Machines.Update(ctx, scope, present, add, remove); err != nil {
		return o.refused(err, before)
	}
	return r.saved(ctx, scope, o, intent.Done(add, remove))
}

// saved is o after the record has been written down.
func (r *Reconciler) saved(ctx context.Context, scope assign.Scope, o outcome, record assign.Record) outcome {
	o.record = record
	if maps.Equal(record, o.saved) {
		return o
	}
	version, err := r.records.save(ctx, scope, record, o.version)
	if err != nil {
		o.err = err
		return o
	}
	o.saved, o.version = maps.Clone(record), version
	return o
}

// failed is o after an error before anything was changed. A scope that is gone
// has no identities.
func (o outcome) failed(err error) outcome {
	o.err = err
	if e, ok := errors.AsType[*compute.Error](err); ok && e.Kind == compute.NotFound {
		o.record = assign.Record{}
	}
	return o
}

// refused is o after a PATCH that failed. Where Azure has changed nothing for
// certain, the intents are taken back: an identity that appears from now on was
// attached by somebody else.
func (o outcome) refused(err error, before assign.Record) outcome {
	o = o.failed(err)
	if e, ok := errors.AsType[*compute.Error](err); ok && e.Refused && e.Kind != compute.NotFound {
		o.record = o.record.Undo(before, o.add, o.remove)
	}
	return o
}

// land takes up the outcome of a PATCH that has ended.
func (r *Reconciler) land(scope assign.Scope, s *state) {
	f := s.flight
	if f == nil {
		return
	}
	select {
	case <-f.done:
	default:
		return
	}
	s.flight = nil
	s.record, s.saved, s.version = maps.Clone(f.outcome.record), f.outcome.saved, f.outcome.version
	log := r.config.Log.With("scope", scope.ID(), "attach", f.outcome.add, "detach", f.outcome.remove, "dur", time.Since(f.started))
	err := f.outcome.err
	switch {
	case err == nil:
		s.failures, s.retryAt, s.problem, s.needed = 0, time.Time{}, "", f.next
		r.config.ReportAzure(nil)
		if len(f.outcome.add)+len(f.outcome.remove) > 0 {
			log.Info("identities changed")
		}
	case errors.Is(err, context.Canceled):
		// We are being stopped.
	default:
		wait := backOff(s.failures, err)
		s.failures, s.retryAt, s.problem = s.failures+1, time.Now().Add(wait), err.Error()
		r.reportFailure(err)
		log.Warn("identities not changed", "retry", wait, "err", err)
	}
}

// reportFailure says that Azure cannot be worked with, unless it is about this
// one scope or identity.
func (r *Reconciler) reportFailure(err error) {
	e, ok := errors.AsType[*compute.Error](err)
	if !ok {
		return
	}
	switch e.Kind {
	case compute.Other, compute.Forbidden:
		r.config.ReportAzure(err)
	default:
		r.config.ReportAzure(nil)
	}
}

// backOff is how long to wait after the n-th failure in a row (from 0): twice as
// long each time, and not less than Azure asks for. Jitter of a fifth.
func backOff(n int, err error) time.Duration {
	wait := min(firstRetry<<min(n, 10), longestRetry)
	if e, ok := errors.AsType[*compute.Error](err); ok {
		wait = max(wait, e.RetryAfter)
	}
	return wait + time.Duration(rand.Int64N(int64(wait/5))) //nolint:gosec // jitter is no secret
}
