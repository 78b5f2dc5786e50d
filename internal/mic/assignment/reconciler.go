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
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/compute"
	"github.com/podid-io/podid/internal/identity"
)

// Machines reads and changes the identities of VMs and scale sets. Errors are
// *compute.Error.
type Machines interface {
	Get(ctx context.Context, scope assign.Scope) (compute.State, error)
	Update(ctx context.Context, scope assign.Scope, s compute.State, attach, detach []string) (compute.Changes, error)
}

// Config says what the controller works with.
type Config struct {
	// Cache reads what is watched. The objects in it are shared: see Options.
	Cache client.Reader
	// Live reads from the API server itself.
	Live client.Reader
	// Writer writes.
	Writer client.Writer
	// Machines is Azure.
	Machines Machines
	// Recorder tells users what became of their pods.
	Recorder events.EventRecorder
	// Namespace is where the records of scopes are kept.
	Namespace string
	// Rules are the operator's choices; see identity.Rules.
	Rules identity.Rules
	// Window is how long a scope's first need for a PATCH waits for others. The
	// default is DefaultWindow; a negative one is none.
	Window time.Duration
	// ReportAzure is told why Azure could not be asked or would not, and nil when
	// it did. May be nil.
	ReportAzure func(error)
	// Log is the logger.
	Log *slog.Logger
}

const (
	// DefaultWindow is the default of Config.Window.
	DefaultWindow = 500 * time.Millisecond
	// parallelWrites is how many objects of one scope are written at once.
	parallelWrites = 20
	// parallelScopes is how many scopes are reconciled at once.
	parallelScopes = 50
)

// Reconciler brings one scope at a time to where it should be.
type Reconciler struct {
	config   Config
	records  records
	troubles troubles
	jobs     chan func(context.Context) // PATCHes to be run by Start

	// queue takes scopes that have something new. It is set by the controller's
	// first source, before anything is reconciled.
	queue workqueue.TypedRateLimitingInterface[assign.Scope]

	mu     sync.Mutex
	scopes map[assign.Scope]*state // guarded by mu; each state by the queue: one worker per scope

	loading singleflight.Group // of the records, once
	loaded  atomic.Bool
}

// state is what is remembered of a scope between two looks at it.
type state struct {
	// record is what is known of the scope's identities, kept what the API server
	// has of it.
	record assign.Record
	kept   kept
	// unseen are our own writes that the cache has not shown yet.
	unseen unseen
	// needed is since when a PATCH has been needed; zero when none is.
	needed time.Time
	// flight is the PATCH under way; nil when none is.
	flight *flight
	// failures in a row, and when to try again after the last.
	failures int
	retryAt  time.Time
	// problem is why the last PATCH failed, reported the objects that were told.
	problem  error
	reported map[types.NamespacedName]string
}

func newReconciler(c Config) *Reconciler {
	if c.Window == 0 {
		c.Window = DefaultWindow
	}
	if c.ReportAzure == nil {
		c.ReportAzure = func(error) {}
	}
	return &Reconciler{
		config:   c,
		records:  records{live: c.Live, writer: c.Writer, namespace: c.Namespace, log: c.Log},
		troubles: troubles{report: c.ReportAzure, by: make(map[assign.Scope]error)},
		jobs:     make(chan func(context.Context)),
		scopes:   make(map[assign.Scope]*state),
	}
}

// Start runs the PATCHes until ctx ends, and waits for their ends.
func (r *Reconciler) Start(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case job := <-r.jobs:
			running.Go(func() { job(ctx) }) // ends with ctx or its own deadline
		}
	}
}

// Reconcile looks at one scope and does what can be done at once. It is the only
// worker on that scope.
func (r *Reconciler) Reconcile(ctx context.Context, scope assign.Scope) (reconcile.Result, error) {
	s, err := r.state(ctx, scope)
	if err != nil {
		return reconcile.Result{}, err
	}
	if wait, err := s.unseen.settle(ctx, r.config.Cache); err != nil || wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, err
	}
	if err := r.land(ctx, scope, s); err != nil {
		return reconcile.Result{}, err
	}
	snapshot, err := r.snapshot(ctx, scope, s.record)
	if err != nil {
		return reconcile.Result{}, err
	}
	plan := snapshot.Plan()
	written := r.write(ctx, s, plan)
	if written != nil {
		written = fmt.Errorf("%s: %w", scope, written) // and go on: one object never stops a scope
	}
	result, err := r.change(ctx, scope, s, plan)
	r.reportWaiting(ctx, scope, s, plan)
	r.forget(scope, s, snapshot)
	if err := errors.Join(written, err); err != nil {
		if result.RequeueAfter > 0 { // lost otherwise: an error has a time of its own
			r.queue.AddAfter(scope, result.RequeueAfter)
		}
		return reconcile.Result{}, err
	}
	return result, nil
}

// change starts a PATCH when one is needed and it is time, else it says when to
// look again.
func (r *Reconciler) change(ctx context.Context, scope assign.Scope, s *state, plan assign.Plan) (reconcile.Result, error) {
	if s.flight != nil {
		s.flight.notice(plan)
		return reconcile.Result{}, nil // its end is an event
	}
	s.record = s.record.Without(plan.Forget)
	if err := r.save(ctx, scope, s); err != nil {
		return reconcile.Result{}, err
	}
	if len(plan.Attach)+len(plan.Detach) == 0 {
		s.needed, s.problem, s.failures, s.retryAt = time.Time{}, nil, 0, time.Time{}
		r.troubles.set(scope, nil)
		return reconcile.Result{}, nil
	}
	if s.needed.IsZero() {
		s.needed = time.Now()
	}
	if wait := max(time.Until(s.needed.Add(r.config.Window)), time.Until(s.retryAt)); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	if scope == (assign.Scope{}) {
		s.problem = errOutside
		return reconcile.Result{}, nil
	}
	return reconcile.Result{}, r.launch(ctx, scope, s, plan)
}

// save writes the record down where it has changed.
func (r *Reconciler) save(ctx context.Context, scope assign.Scope, s *state) error {
	o := r.saved(ctx, scope, outcome{kept: s.kept}, s.record)
	s.record, s.kept = o.record, o.kept
	return o.err
}

// state returns what is remembered of the scope. The first call reads the
// records of all scopes, and has those looked at that have one.
func (r *Reconciler) state(ctx context.Context, scope assign.Scope) (*state, error) {
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.scopes[scope]
	if !ok {
		s = newState(kept{})
		r.scopes[scope] = s
	}
	return s, nil
}

func (r *Reconciler) load(ctx context.Context) error {
	if r.loaded.Load() {
		return nil
	}
	_, err, _ := r.loading.Do("", func() (any, error) {
		if r.loaded.Load() {
			return nil, nil
		}
		found, err := r.records.load(ctx)
		if err != nil {
			return nil, err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for scope, k := range found {
			r.scopes[scope] = newState(k)
			r.queue.Add(scope)
		}
		r.loaded.Store(true)
		return nil, nil
	})
	return err
}

// forget lets go of a scope of which there is nothing to remember.
func (r *Reconciler) forget(scope assign.Scope, s *state, snapshot assign.Snapshot) {
	if len(snapshot.Pods)+len(snapshot.Assigned)+len(s.record)+len(s.unseen) > 0 || s.flight != nil || s.kept.version != "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.scopes, scope)
}

func newState(k kept) *state {
	return &state{
		record: maps.Clone(k.record), kept: k,
		unseen:   make(unseen),
		reported: make(map[types.NamespacedName]string),
	}
}
