package mic

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	eventsv1client "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/mic/assignment"
	"github.com/podid-io/podid/internal/mic/lease"
	"github.com/podid-io/podid/internal/mic/taint"
)

// manage watches, and when it has everything, leads when it may, until ctx ends.
func (c *Controller) manage(ctx context.Context) error {
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1.AddToScheme(scheme)); err != nil {
		return err
	}
	var why atomic.Pointer[string] // the last failure of a watch
	var all cache.Cache
	if err := c.insist(ctx, func() (err error) { // it asks the API server what it has
		all, err = c.newCache(ctx, scheme, &why)
		return err
	}); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return all.Start(ctx) })    // ends with ctx
	g.Go(func() error { return c.legacy.Run(ctx) }) // ends with ctx
	g.Go(func() error {                             // ends with ctx, or for good with an error
		if !c.awaitSync(ctx, all, &why) {
			return nil
		}
		return c.terms(ctx, scheme, all)
	})
	return g.Wait()
}

// newCache is the cache of all that the controllers read. Objects in it are
// shared and never changed.
func (c *Controller) newCache(ctx context.Context, scheme *runtime.Scheme, why *atomic.Pointer[string]) (cache.Cache, error) {
	all, err := cache.New(c.config.REST, cache.Options{
		Scheme:                       scheme,
		ByObject:                     assignment.Options(),
		DefaultTransform:             cache.TransformStripManagedFields(),
		DefaultUnsafeDisableDeepCopy: new(true),
		ReaderFailOnMissingInformer:  true,
		DefaultWatchErrorHandler: func(ctx context.Context, _ *toolscache.Reflector, err error) {
			text := err.Error()
			why.Store(&text)
			c.config.Log.WarnContext(ctx, "a watch failed and is tried again", "err", err)
		},
	})
	if err != nil {
		return nil, err
	}
	_, err = all.GetInformer(ctx, &v1.AzurePodIdentityException{}, cache.BlockUntilSynced(false))
	return all, errors.Join(err, assignment.Index(ctx, all))
}

// assignment is what the assignment controller is made with.
func (c *Controller) assignment(recorder events.EventRecorder, shown assignment.Status) assignment.Config {
	return assignment.Config{
		Machines: c.config.Machines, Lister: c.lister, Namespace: c.config.Namespace, Rules: c.config.Rules, Window: c.config.Window,
		KeepWarm: c.config.KeepWarm, Retry: c.config.Retry, Quarantine: c.config.Quarantine, Drift: c.config.DriftInterval, Check: c.config.CheckInterval, Immutable: c.config.neverDetached, Metrics: c.metrics,
		Recorder: recorder, Status: shown,
		ReportAzure: c.Report(checkAzure), Log: c.config.Log,
	}
}

// addTaint adds the controller of start-up taints, if there are any.
func (c *Controller) addTaint(ctx context.Context, m manager.Manager) error {
	if len(c.config.StartupTaints) == 0 {
		return nil
	}
	return taint.Add(ctx, m, taint.Config{Keys: c.config.StartupTaints, Namespace: c.config.Namespace, Log: c.config.Log})
}

// options is what the manager of one term is made with.
func (c *Controller) options(scheme *runtime.Scheme, used *running) manager.Options {
	return manager.Options{
		Scheme:   scheme,
		Logger:   logr.FromSlogHandler(c.config.Log.Handler()).V(4), // what it calls info is debug to us
		NewCache: func(*rest.Config, cache.Options) (cache.Cache, error) { return used, nil },
		Metrics:  metricsserver.Options{BindAddress: "0"}, // served by Run, from the start
		Controller: config.Controller{
			SkipNameValidation: new(true), // a process may run several, one after the other
		},
	}
}

// lease says how the Lease is held, and who is told.
func (c Config) lease(report func(error)) lease.Config {
	e := c.Election
	return lease.Config{
		REST: c.REST, Namespace: e.Namespace, Name: e.Name,
		Duration: e.LeaseDuration, RenewDeadline: e.RenewDeadline, RetryPeriod: e.RetryPeriod,
		Report: report, Log: c.Log,
	}
}

// broadcaster sends events on a client of its own, so that a burst of them holds
// up nothing else.
func (c *Controller) broadcaster(ctx context.Context) (events.EventBroadcaster, error) {
	client, err := eventsv1client.NewForConfig(own(c.config.REST, 50, 200))
	if err != nil {
		return nil, fmt.Errorf("make a client for events: %w", err)
	}
	b := events.NewBroadcaster(&events.EventSinkImpl{Interface: client})
	if err := b.StartRecordingToSinkWithContext(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

// own is the configuration of a client with limits of its own.
func own(shared *rest.Config, qps float32, burst int) *rest.Config {
	r := rest.CopyConfig(shared)
	r.RateLimiter, r.QPS, r.Burst = nil, qps, burst
	return r
}

// awaitSync reports until the cache has everything, and then that. It returns
// false when ctx ended first.
func (c *Controller) awaitSync(ctx context.Context, all cache.Cache, why *atomic.Pointer[string]) bool {
	report := c.Report(checkAPI)
	for ctx.Err() == nil {
		bounded, cancel := context.WithTimeout(ctx, 5*time.Second)
		done := all.WaitForCacheSync(bounded)
		cancel()
		if done && ctx.Err() == nil {
			debug.FreeOSMemory() // of the first lists only what was stripped stays
			report(nil)
			return true
		}
		err := errors.New("waiting for the first list of pods, nodes, namespaces, identities and bindings")
		if text := why.Load(); text != nil {
			err = fmt.Errorf("%w: %s", err, *text)
		}
		report(err)
	}
	return false
}
