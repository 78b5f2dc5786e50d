package mic

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/mic/assignment"
	"github.com/podid-io/podid/internal/mic/lease"
	"github.com/podid-io/podid/internal/mic/spelling"
	"github.com/podid-io/podid/internal/mic/status"
)

// terms leads whenever that may be, until ctx ends. Between two terms the cache
// goes on, so that a new term begins with all that it needs.
//
//	no MIC of AAD Pod Identity leads --the Lease is ours--> a term: controllers work
//	       ^                                                        |
//	       +---- the Lease is lost, or such a MIC leads <-----------+
func (c *Controller) terms(ctx context.Context, scheme *runtime.Scheme, all cache.Cache) error {
	broadcaster, err := c.broadcaster(ctx)
	if err != nil {
		return err
	}
	defer broadcaster.Shutdown()
	l, err := lease.New(c.config.lease(c.Report(checkLease)))
	if err != nil {
		return err
	}
	recorder := newRecorder(broadcaster.NewRecorder(scheme, "podid-mic"), c.metrics)
	for ctx.Err() == nil {
		alone, end, err := c.legacy.Await(ctx)
		if err != nil {
			return nil // ctx has ended
		}
		c.config.Log.InfoContext(ctx, "waiting for the lease", "lease", c.config.Election.Namespace+"/"+c.config.Election.Name)
		err = l.Lead(alone, func(ctx context.Context) error { return c.term(ctx, scheme, all, recorder) })
		end()
		if err != nil {
			return err
		}
	}
	return nil
}

// firstLook is how long the first look at everything takes, in a large cluster. It
// needs far more memory than what stays.
const firstLook = 30 * time.Second

// term runs the controllers until ctx ends, and returns when they have ended.
func (c *Controller) term(ctx context.Context, scheme *runtime.Scheme, all cache.Cache, recorder events.EventRecorder) error {
	used := &running{Cache: all}
	defer used.leave()
	defer c.Report(checkAzure)(nil) // who stands by asks nothing of Azure
	m, err := ctrl.NewManager(c.config.REST, c.options(scheme, used))
	if err != nil {
		return fmt.Errorf("make the controllers' manager: %w", err)
	}
	shown, err := status.Add(m, recorder)
	if err != nil {
		return err
	}
	if err := errors.Join(
		assignment.Add(m, c.assignment(recorder, shown)),
		spelling.Add(m, identity.Rules{ExceptionNamespaces: c.config.ExceptionNamespaces}, recorder),
		c.addTaint(ctx, m),
	); err != nil {
		return err
	}
	defer time.AfterFunc(firstLook, debug.FreeOSMemory).Stop()
	start := time.Now()
	c.config.Log.InfoContext(ctx, "leading")
	if err := m.Start(ctx); err != nil {
		return fmt.Errorf("run the controllers: %w", err)
	}
	c.config.Log.InfoContext(ctx, "leading no more", "dur", time.Since(start))
	return nil
}

// running is a cache for a manager to use, not to start: a manager that has to
// wait for its cache cannot be stopped (controller-runtime 0.25 waits for it in
// a busy loop when its context has ended), and a right that is missing makes it
// wait for long. It outlives the manager, whose handlers leave takes off it.
type running struct {
	cache.Cache

	mu    sync.Mutex
	left  bool           // guarded by mu
	taken []func() error // guarded by mu; each takes one handler off
}

// Start waits for the end of ctx.
func (*running) Start(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// GetInformer is the cache's, whose handlers are remembered.
func (r *running) GetInformer(ctx context.Context, o client.Object, opts ...cache.InformerGetOption) (cache.Informer, error) {
	i, err := r.Cache.GetInformer(ctx, o, opts...)
	if err != nil {
		return nil, err
	}
	return informer{i, r}, nil
}

// GetInformerForKind is the cache's, whose handlers are remembered.
func (r *running) GetInformerForKind(ctx context.Context, gvk schema.GroupVersionKind, opts ...cache.InformerGetOption) (cache.Informer, error) {
	i, err := r.Cache.GetInformerForKind(ctx, gvk, opts...)
	if err != nil {
		return nil, err
	}
	return informer{i, r}, nil
}

// leave takes off the handlers. What cannot be taken off belongs to an informer
// that has ended.
func (r *running) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = true
	for _, off := range r.taken {
		_ = off()
	}
	r.taken = nil
}

// informer is an informer of the cache, used by one manager.
type informer struct {
	cache.Informer
	of *running
}

func (i informer) remember(h toolscache.ResourceEventHandlerRegistration, err error) (toolscache.ResourceEventHandlerRegistration, error) {
	if err != nil {
		return h, err
	}
	off := func() error { return i.RemoveEventHandler(h) }
	i.of.mu.Lock()
	defer i.of.mu.Unlock()
	if i.of.left { // a source was late
		return h, off()
	}
	i.of.taken = append(i.of.taken, off)
	return h, nil
}

// AddEventHandler adds a handler.
func (i informer) AddEventHandler(h toolscache.ResourceEventHandler) (toolscache.ResourceEventHandlerRegistration, error) {
	return i.remember(i.Informer.AddEventHandler(h))
}

// AddEventHandlerWithResyncPeriod adds a handler.
func (i informer) AddEventHandlerWithResyncPeriod(h toolscache.ResourceEventHandler, every time.Duration) (toolscache.ResourceEventHandlerRegistration, error) {
	return i.remember(i.Informer.AddEventHandlerWithResyncPeriod(h, every))
}

// AddEventHandlerWithOptions adds a handler.
func (i informer) AddEventHandlerWithOptions(h toolscache.ResourceEventHandler, options toolscache.HandlerOptions) (toolscache.ResourceEventHandlerRegistration, error) {
	return i.remember(i.Informer.AddEventHandlerWithOptions(h, options))
}
