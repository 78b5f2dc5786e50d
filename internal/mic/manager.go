package mic

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	eventsv1client "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/mic/assignment"
	"github.com/podid-io/podid/internal/mic/spelling"
	"github.com/podid-io/podid/internal/mic/taint"
)

// manage watches, and when it has everything, runs the controllers until ctx
// ends or the Lease is lost.
func (c *Controller) manage(ctx context.Context) error {
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1.AddToScheme(scheme)); err != nil {
		return err
	}
	var why atomic.Pointer[string] // the last failure of a watch
	all, err := c.newCache(ctx, scheme, &why)
	if err != nil {
		return fmt.Errorf("make the cache: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return all.Start(ctx) }) // ends with ctx
	g.Go(func() error {                          // ends with ctx, or for good with an error
		if !c.awaitSync(ctx, all, &why) {
			return nil
		}
		return c.lead(ctx, scheme, all)
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

// running is a cache for a manager to use, not to start: a manager that has to
// wait for its cache cannot be stopped (controller-runtime 0.25 waits for it in
// a busy loop when its context has ended), and a right that is missing makes it
// wait for long.
type running struct{ cache.Cache }

// Start waits for the end of ctx.
func (running) Start(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// lead runs the controllers, once this process leads, until ctx ends or the
// Lease is lost.
func (c *Controller) lead(ctx context.Context, scheme *runtime.Scheme, all cache.Cache) error {
	broadcaster, err := c.broadcaster(ctx)
	if err != nil {
		return err
	}
	defer broadcaster.Shutdown()
	lock, err := c.lock()
	if err != nil {
		return err
	}
	m, err := ctrl.NewManager(c.config.REST, c.options(scheme, all, lock))
	if err != nil {
		return fmt.Errorf("make the controllers' manager: %w", err)
	}
	recorder := broadcaster.NewRecorder(scheme, "podid-mic")
	if err := errors.Join(
		assignment.Add(m, assignment.Config{
			Machines: c.config.Machines, Namespace: c.config.Namespace, Rules: c.config.Rules, Window: c.config.Window,
			KeepWarm: c.config.KeepWarm, Check: c.config.CheckInterval, Immutable: c.config.Immutable, Metrics: c.metrics,
			Recorder:    recorder,
			ReportAzure: c.Report(checkAzure), Log: c.config.Log,
		}),
		spelling.Add(m, identity.Rules{ExceptionNamespaces: c.config.ExceptionNamespaces}, recorder),
		c.addTaint(ctx, m),
		m.Add(manager.RunnableFunc(func(ctx context.Context) error { // runs while we lead
			c.config.Log.InfoContext(ctx, "leading")
			<-ctx.Done()
			return nil
		})),
	); err != nil {
		return err
	}
	c.config.Log.InfoContext(ctx, "waiting for the lease", "lease", c.config.Election.Namespace+"/"+c.config.Election.Name)
	err = m.Start(ctx)
	return fmt.Errorf("the controllers ended, since another mic leads now or the API server could not be reached in time to renew the lease: %w", err)
}

// addTaint adds the controller of start-up taints, if there are any.
func (c *Controller) addTaint(ctx context.Context, m manager.Manager) error {
	if len(c.config.StartupTaints) == 0 {
		return nil
	}
	return taint.Add(ctx, m, taint.Config{Keys: c.config.StartupTaints, Namespace: c.config.Namespace, Log: c.config.Log})
}

// options is what the manager is made with.
func (c *Controller) options(scheme *runtime.Scheme, all cache.Cache, lock resourcelock.Interface) manager.Options {
	e := c.config.Election
	return manager.Options{
		Scheme:         scheme,
		Logger:         logr.FromSlogHandler(c.config.Log.Handler()).V(4), // what it calls info is debug to us
		NewCache:       func(*rest.Config, cache.Options) (cache.Cache, error) { return running{all}, nil },
		LeaderElection: true, LeaderElectionReleaseOnCancel: true, LeaderElectionResourceLockInterface: lock,
		LeaseDuration: &e.LeaseDuration, RenewDeadline: &e.RenewDeadline, RetryPeriod: &e.RetryPeriod,
		Metrics: metricsserver.Options{BindAddress: "0"}, // served by Run, from the start
		Controller: config.Controller{
			SkipNameValidation: new(true), // a process may run several, one after the other
		},
	}
}

// lock is the Lease, on a client of its own, so that nothing holds up its
// renewal. It sends no events of its own, unlike the manager's.
func (c *Controller) lock() (resourcelock.Interface, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("find a name for the holder of the lease: %w", err)
	}
	e := c.config.Election
	limits := own(c.config.REST, 10, 20)
	limits.Timeout = e.RenewDeadline / 2
	client, err := coordinationv1client.NewForConfig(limits)
	if err != nil {
		return nil, fmt.Errorf("make a client for the lease: %w", err)
	}
	return &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: e.Namespace, Name: e.Name},
		Client:     client,
		LockConfig: resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())},
	}, nil
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
