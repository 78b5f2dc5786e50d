// Package assignment is the controller that brings identities to machines: it
// writes an AzureAssignedIdentity for every pod and identity that belong
// together, and attaches and detaches identities on VMs and scale sets.
//
// Its queue holds scopes, not pods: Azure takes one identity PATCH per VM or
// scale set at a time, and a queue keyed by scope is that rule; a burst of pods
// becomes one PATCH. Nothing waits for a PATCH but what needs it: it runs beside
// the reconciler, and its end is an event for its scope.
//
//	events -> scope -> snapshot (caches) -> assign.Plan -> write objects
//	                                                    -> window over? -> PATCH (own goroutine) -> scope again
package assignment

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/podid-io/podid/internal/assign"
)

// Reconciler brings one scope at a time to where it should be.
type Reconciler struct {
	config   Config
	records  records
	troubles troubles
	metrics  metrics
	jobs     chan func(context.Context) // PATCHes to be run by Start

	// queue takes scopes that have something new. It is set by the controller's
	// first source, before anything is reconciled.
	queue workqueue.TypedRateLimitingInterface[assign.Scope]

	mu      sync.Mutex
	scopes  map[assign.Scope]*state // guarded by mu; each state by the queue: one worker per scope
	pending touches                 // guarded by mu
	sizes   map[assign.Scope]int    // guarded by mu; of their records
	refused map[assign.Scope]int    // guarded by mu; how many of them are in quarantine
	sights  map[assign.Scope]sight  // guarded by mu; see drift
	vacant  map[assign.Scope]bool   // guarded by mu; see occupy
	epoch   int64                   // guarded by mu; a scope that was looked at in an earlier one is to be wholly

	drifted atomic.Bool        // since the last look for drift
	loading singleflight.Group // of the records, once
	loaded  atomic.Bool
}

func newReconciler(c Config) *Reconciler {
	c = c.withDefaults()
	r := &Reconciler{
		config:   c,
		records:  records{live: c.Live, writer: c.Writer, namespace: c.Namespace, log: c.Log},
		troubles: troubles{report: c.ReportAzure, by: make(map[assign.Scope]error)},
		jobs:     make(chan func(context.Context)),
		scopes:   make(map[assign.Scope]*state),
		pending:  make(touches),
		sizes:    make(map[assign.Scope]int),
		refused:  make(map[assign.Scope]int),
		sights:   make(map[assign.Scope]sight),
		vacant:   make(map[assign.Scope]bool),
		epoch:    1,
		metrics:  newMetrics(c.Metrics),
	}
	return r
}

// Start looks for drift and runs the PATCHes until ctx ends, and waits for their ends.
func (r *Reconciler) Start(ctx context.Context) error {
	defer registerSizes(r.config.Metrics, r)()
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { r.watchDrift(ctx) }) // ends with ctx
	for {
		select {
		case <-ctx.Done():
			return nil
		case job := <-r.jobs:
			running.Go(func() { job(ctx) }) // ends with ctx or its own deadline
		}
	}
}

// Reconcile looks at what was touched of one scope and does what can be done at
// once. It is the only worker on that scope.
func (r *Reconciler) Reconcile(ctx context.Context, scope assign.Scope) (reconcile.Result, error) {
	s, err := r.state(ctx, scope)
	if err != nil {
		return reconcile.Result{}, err
	}
	if err := r.land(ctx, scope, s); err != nil {
		return reconcile.Result{}, err
	}
	if err := r.occupy(ctx, scope, s); err != nil {
		return reconcile.Result{}, err
	}
	r.see(ctx, scope, s)
	t := r.take(scope, s)
	plan, wait, err := r.look(ctx, scope, s, t)
	if err != nil {
		r.giveBack(scope, s, t)
		return reconcile.Result{}, err
	}
	changes := s.machine.Plan(time.Now(), r.config.KeepWarm)
	first := len(changes.Detach) > 0
	if first { // only when the objects are written that say so
		written := r.write(ctx, scope, s, plan, time.Time{})
		wait.add(written)
		s.fallBehind(written, changes.Detach)
	} else {
		s.behind = nil
	}
	launched := r.change(ctx, scope, s, changes)
	if !first {
		wait.add(r.write(ctx, scope, s, plan, launched.next()))
	}
	wait.add(launched)
	r.reportWaiting(ctx, scope, s, plan, t)
	wait.add(r.recheck(ctx, scope, s, t))
	r.size(scope, len(s.machine.Record()))
	forgotten, err := r.forget(ctx, scope, s)
	wait.add(later{err: err})
	if forgotten {
		wait.wait = 0 // for what there was to do about it
	}
	return wait.result(r, scope)
}

// longestBehind bounds how long what is to be detached waits for objects that
// cannot be written.
const longestBehind = time.Minute

// fallBehind takes note of what is to be detached while something is not written yet
// that may say that it is there.
func (s *state) fallBehind(written later, detach []string) {
	if written == (later{}) && len(s.backlog) == 0 {
		s.behind = nil
		return
	}
	since := make(map[string]time.Time, len(detach))
	for _, id := range detach {
		if began, already := s.behind[id]; already {
			since[id] = began
		} else {
			since[id] = time.Now()
		}
	}
	s.behind = since
}

// waits reports whether an identity may not be detached yet. What is not written has
// the scope looked at again.
func (s *state) waits(id string) bool {
	since, behind := s.behind[id]
	return behind && time.Since(since) < longestBehind
}

// inTime is the changes without those detachments that have to wait; none at all where
// one of them has to go before Azure takes anything else.
func (s *state) inTime(c assign.Changes) assign.Changes {
	if slices.ContainsFunc(c.Detach, func(id string) bool { return s.waits(id) && s.machine.IsLost(id) }) {
		return assign.Changes{}
	}
	c.Detach = slices.DeleteFunc(c.Detach, s.waits)
	return c
}

// look decides about the pods that were touched, and takes note of what they need
// of the machine. Of pods with writes that the cache does not show yet it lets go
// until it does.
func (r *Reconciler) look(ctx context.Context, scope assign.Scope, s *state, t touched) (assign.Plan, later, error) {
	held, wait, err := s.settle(ctx, r.config.Cache, t)
	if err != nil {
		return assign.Plan{}, later{}, err
	}
	r.touch(scope, held) // until its event comes
	snapshot, err := r.snapshot(ctx, scope, s, t, held)
	if err != nil {
		return assign.Plan{}, later{}, err
	}
	plan := snapshot.Plan()
	s.epoch = t.epoch
	r.missed(ctx, scope, s, t, plan, held)
	s.need(plan, t, held)
	return plan, later{wait: wait}, nil
}

// need takes note of what the touched pods need, but for those held back.
func (s *state) need(plan assign.Plan, t touched, held owners) {
	now := time.Now()
	pods := maps.Keys(t.pods)
	if t.all {
		pods = slices.Values(s.machine.Owners())
	}
	for o := range pods {
		if _, needs := plan.Needs[o]; !needs && !held.has(o) {
			s.machine.Need(o, nil, now)
		}
	}
	for o, ids := range plan.Needs {
		s.machine.Need(o, ids, now)
	}
}

// later says when to look again; zero for never. An error has a time of its own.
type later struct {
	wait time.Duration
	err  error
}

// add is the sooner of the two, and both errors.
func (l *later) add(m later) {
	if l.wait == 0 || m.wait > 0 && m.wait < l.wait {
		l.wait = m.wait
	}
	l.err = errors.Join(l.err, m.err)
}

// next is when to look again, zero for never.
func (l later) next() time.Time {
	if l.wait == 0 {
		return time.Time{}
	}
	return time.Now().Add(l.wait)
}

func (l later) result(r *Reconciler, scope assign.Scope) (reconcile.Result, error) {
	if l.err == nil {
		return reconcile.Result{RequeueAfter: l.wait}, nil
	}
	if l.wait > 0 { // lost otherwise
		r.queue.AddAfter(scope, l.wait)
	}
	return reconcile.Result{}, fmt.Errorf("%s: %w", scope, l.err)
}
