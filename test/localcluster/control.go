package localcluster

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// control runs small controllers over one cache.
type control struct {
	client client.WithWatch
	cache  cache.Cache

	ctx    context.Context // of all controllers; stop ends it
	cancel context.CancelFunc
	group  sync.WaitGroup
	loops  []*loop
}

func newControl(cfg *rest.Config) (*control, error) {
	api, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	reads, err := newCache(cfg)
	if err != nil {
		return nil, err
	}
	c := &control{client: api, cache: reads}
	c.ctx, c.cancel = context.WithCancel(context.Background()) // outlives the call that starts it
	return c, nil
}

// loop calls sync for each key that is added, again after an error and a
// back-off, and never for one key twice at a time.
type loop struct {
	queue   workqueue.TypedRateLimitingInterface[types.NamespacedName]
	workers int
	sync    func(ctx context.Context, key types.NamespacedName) error
}

func (c *control) loop(workers int, sync func(context.Context, types.NamespacedName) error) *loop {
	l := &loop{
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.DefaultTypedItemBasedRateLimiter[types.NamespacedName]()),
		workers: workers,
		sync:    sync,
	}
	c.loops = append(c.loops, l)
	return l
}

// add asks for a call for obj's key.
func (l *loop) add(obj client.Object) { l.queue.Add(client.ObjectKeyFromObject(obj)) }

// on calls handle for every event about an object of kind's type.
func (c *control) on(ctx context.Context, kind client.Object, handle func(client.Object)) error {
	informer, err := c.cache.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch %T: %w", kind, err)
	}
	see := func(obj any) {
		if last, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
			obj = last.Obj
		}
		if o, ok := obj.(client.Object); ok {
			handle(o)
		}
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    see,
		UpdateFunc: func(_, obj any) { see(obj) },
		DeleteFunc: see,
	})
	return err
}

// run starts the cache and the workers, and returns when the cache is filled.
// stop ends all of them.
func (c *control) run(ctx context.Context) error {
	c.group.Go(func() { _ = c.cache.Start(c.ctx) }) // ends when c.ctx does, always with nil
	for _, l := range c.loops {
		for range l.workers {
			c.group.Go(func() { l.work(c.ctx) })
		}
	}
	if !c.cache.WaitForCacheSync(ctx) {
		return errors.Join(errors.New("the first lists did not come in time"), ctx.Err())
	}
	return nil
}

func (l *loop) work(ctx context.Context) {
	for {
		key, shutdown := l.queue.Get()
		if shutdown {
			return
		}
		if err := l.sync(ctx, key); err != nil {
			l.queue.AddRateLimited(key)
		} else {
			l.queue.Forget(key)
		}
		l.queue.Done(key)
	}
}

// stop ends the controllers and waits for them.
func (c *control) stop() {
	c.cancel()
	for _, l := range c.loops {
		l.queue.ShutDown()
	}
	c.group.Wait()
}
