package mic

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	eventsv1client "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/mic/assignment"
	"github.com/podid-io/podid/internal/mic/spelling"
)

// manage runs the controllers until ctx ends or the Lease is lost.
func (c *Controller) manage(ctx context.Context) error {
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1.AddToScheme(scheme)); err != nil {
		return err
	}
	broadcaster, err := c.broadcaster(ctx)
	if err != nil {
		return err
	}
	defer broadcaster.Shutdown()
	var why atomic.Pointer[string] // the last failure of a watch
	m, err := ctrl.NewManager(c.config.REST, c.options(scheme, &why))
	if err != nil {
		return fmt.Errorf("make the controllers' manager: %w", err)
	}
	if err := assignment.Add(ctx, m, assignment.Config{
		Machines: c.config.Machines, Namespace: c.config.Namespace, Rules: c.config.Rules, Window: c.config.Window,
		Recorder:    broadcaster.NewRecorder(scheme, "podid-mic"),
		ReportAzure: c.report(checkAzure), Log: c.config.Log,
	}); err != nil {
		return err
	}
	if err := spelling.Add(m, c.config.ExceptionNamespaces); err != nil {
		return err
	}
	synced := make(chan struct{})
	go func() { // ends with ctx, or when everything has been delivered
		defer close(synced)
		c.awaitSync(ctx, m.GetCache(), &why)
	}()
	c.config.Log.Info("waiting for the lease", "lease", c.config.Election.Namespace+"/"+c.config.Election.Name)
	err = m.Start(ctx)
	if ctx.Err() == nil { // else err is about the haste of our own end
		return fmt.Errorf("the controllers ended: %w", errors.Join(err, errors.New("another mic leads now, or the API server could not be reached in time to renew the lease")))
	}
	<-synced
	return nil
}

// options is what the manager is made with. Objects in its cache are shared and
// never changed.
func (c *Controller) options(scheme *runtime.Scheme, why *atomic.Pointer[string]) manager.Options {
	e := c.config.Election
	lease := own(c.config.REST, 10, 20)
	lease.Timeout = e.RenewDeadline / 2
	return manager.Options{
		Scheme: scheme,
		Logger: logr.FromSlogHandler(c.config.Log.Handler()),
		Cache: cache.Options{
			ByObject:                     assignment.Options(),
			DefaultTransform:             cache.TransformStripManagedFields(),
			DefaultUnsafeDisableDeepCopy: ptr.To(true),
			ReaderFailOnMissingInformer:  true,
			DefaultWatchErrorHandler: func(_ context.Context, _ *toolscache.Reflector, err error) {
				text := err.Error()
				why.Store(&text)
				c.config.Log.Warn("a watch failed and is tried again", "err", err)
			},
		},
		LeaderElection: true, LeaderElectionReleaseOnCancel: true, LeaderElectionConfig: lease,
		LeaderElectionNamespace: e.Namespace, LeaderElectionID: e.Name,
		LeaseDuration: &e.LeaseDuration, RenewDeadline: &e.RenewDeadline, RetryPeriod: &e.RetryPeriod,
		Metrics: metricsserver.Options{BindAddress: "0"}, // served by Run, from the start
		Controller: config.Controller{
			SkipNameValidation: ptr.To(true), // a process may run several, one after the other
		},
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

// awaitSync reports until the cache has everything, and then that.
func (c *Controller) awaitSync(ctx context.Context, all cache.Cache, why *atomic.Pointer[string]) {
	report := c.report(checkAPI)
	for ctx.Err() == nil {
		bounded, cancel := context.WithTimeout(ctx, 5*time.Second)
		done := all.WaitForCacheSync(bounded)
		cancel()
		if done && ctx.Err() == nil {
			report(nil)
			return
		}
		err := errors.New("waiting for the first list of pods, nodes, identities and bindings")
		if text := why.Load(); text != nil {
			err = fmt.Errorf("%w: %s", err, *text)
		}
		report(err)
	}
}
