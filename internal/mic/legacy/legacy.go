// Package legacy knows whether AAD Pod Identity's own controller, MIC, is at
// work in the cluster. Two controllers would undo each other's work.
//
// Its lock is an annotation of an Endpoints object, which its leader renews every
// few seconds. Clocks differ between machines, so that what counts is when a
// renewal is seen here, not the time that it says:
//
//	nobody --changes, or is first seen and not old--> leads --stands still for its duration, and a read says so--> nobody
package legacy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// LockName is the name that MIC's lock has by default.
const LockName = "aad-pod-identity-mic"

// Config says which locks are watched.
type Config struct {
	// REST reaches the API server.
	REST *rest.Config
	// Locks are Endpoints objects that MIC locks. The default is none.
	Locks []types.NamespacedName
	// Report is told who leads, or why that cannot be known, and nil when nobody
	// does. May be nil.
	Report func(error)
	// Log is the logger.
	Log *slog.Logger
}

// Watch watches the locks while Run runs.
type Watch struct {
	config Config
	reader reader
	news   chan news
	locks  map[types.NamespacedName]*observation // Run's alone

	mu   sync.Mutex
	free chan struct{} // guarded by mu; closed when nobody leads
	held chan struct{} // guarded by mu; closed when somebody does, after nobody did
}

// news is what a lock says now.
type news struct {
	lock   types.NamespacedName
	record string
}

// New makes a watch. It calls nobody.
func New(c Config) (*Watch, error) {
	if c.Report == nil {
		c.Report = func(error) {}
	}
	reader, err := newReader(c.REST)
	if err != nil {
		return nil, err
	}
	w := &Watch{
		config: c, reader: reader, news: make(chan news),
		locks: make(map[types.NamespacedName]*observation, len(c.Locks)),
		free:  make(chan struct{}), held: make(chan struct{}),
	}
	for _, l := range c.Locks {
		w.locks[l] = &observation{}
	}
	if len(c.Locks) == 0 {
		close(w.free)
	}
	return w, nil
}

// Await waits until no MIC leads, and returns a context that ends when one does,
// or with ctx. It fails when ctx ends before.
func (w *Watch) Await(ctx context.Context) (context.Context, context.CancelFunc, error) {
	w.mu.Lock()
	free := w.free
	w.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	case <-free:
	}
	w.mu.Lock()
	held := w.held
	w.mu.Unlock()
	alone, cancel := context.WithCancel(ctx)
	go func() { // ends with the context that is returned
		select {
		case <-held:
			cancel()
		case <-alone.Done():
		}
	}()
	return alone, cancel, nil
}

// Run watches until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for l := range w.locks {
		running.Go(func() { w.reader.watch(ctx, l, w.news, w.config.Log) }) // ends with ctx
	}
	if len(w.locks) == 0 {
		w.config.Report(nil)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for len(w.locks) > 0 {
		select {
		case <-ctx.Done():
			return nil
		case n := <-w.news:
			w.locks[n.lock].see(n.record, time.Now())
		case <-timer.C:
			w.confirm(ctx)
		}
		timer.Reset(w.judge(time.Now()))
	}
	<-ctx.Done()
	return nil
}

// again is the time between reads of a lock that cannot be read.
const again = 2 * time.Second

// confirm reads the locks of which nothing is known yet, and those that seem to
// stand still: a watch can be late.
func (w *Watch) confirm(ctx context.Context) {
	for l, o := range w.locks {
		if o.seen && (o.holder == "" || o.leads(time.Now())) {
			continue
		}
		record, err := w.reader.read(ctx, l)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && o.seen:
			o.until = time.Now().Add(again) // as it was
		case err != nil:
			w.config.Report(fmt.Errorf("nobody knows whether AAD Pod Identity's MIC leads, since its lock cannot be read (Endpoints %s; config/rbac has the right, --legacy-lock says which): %w", l, err))
		case record == o.record && o.seen:
			o.holder = "" // it stands still
		default:
			o.see(record, time.Now())
		}
	}
}

// judge finds out whether somebody leads, and how long that holds.
func (w *Watch) judge(now time.Time) time.Duration {
	wait := time.Hour
	var leads error
	unknown := false
	for l, o := range w.locks {
		switch {
		case !o.seen:
			unknown, wait = true, min(wait, again)
		case o.holder != "":
			leads = errors.Join(leads, fmt.Errorf("AAD Pod Identity's MIC leads: %s holds its lock, Endpoints %s. Scale its Deployment to 0 or uninstall it; podid goes on by itself then", o.holder, l))
			wait = min(wait, max(o.until.Sub(now), 0))
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case unknown && leads == nil: // and the reason has been told
	case leads != nil:
		if w.config.Report(leads); closed(w.free) {
			w.free = make(chan struct{})
			close(w.held)
		}
	default:
		if w.config.Report(nil); !closed(w.free) {
			w.held = make(chan struct{})
			close(w.free)
		}
	}
	return wait
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// recordOf is what a lock says.
func recordOf(o metav1.Object) string {
	return o.GetAnnotations()[resourcelock.LeaderElectionRecordAnnotationKey]
}
