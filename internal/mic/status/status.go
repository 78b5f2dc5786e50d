// Package status is the controller that shows users what became of their
// AzureIdentities and AzureIdentityBindings: how many pods they are for, and
// whether an identity is attached where it is needed, or what to do.
//
// It counts AzureAssignedIdentities in the cache, and is told by the assignment
// controller what is wrong. It writes an object at most once in five seconds and
// only when something is different, on a client of its own, so that it holds up
// nothing. A restart writes nothing.
package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
)

// Bounds of what is written.
const (
	pause      = 5 * time.Second // between two writes of an object
	qps, burst = 20, 50          // of all
)

// key is an AzureIdentity, or a binding.
type key struct {
	binding bool
	types.NamespacedName
}

type queue = workqueue.TypedRateLimitingInterface[key]

// Controller writes the status. It may be told things before it runs.
type Controller struct {
	cache    client.Reader
	writer   client.Client
	recorder events.EventRecorder

	mu       sync.Mutex                       // guards the rest
	queue    queue                            // nil until it runs
	troubles map[key]map[assign.Scope]trouble // of whom anything was told
}

// trouble is what is wrong with an identity on a scope.
type trouble struct{ reason, problem string }

// Add adds the controller to a manager whose cache has the indexes of the
// assignment controller.
func Add(m manager.Manager, recorder events.EventRecorder) (*Controller, error) {
	limits := rest.CopyConfig(m.GetConfig())
	limits.RateLimiter, limits.QPS, limits.Burst = nil, qps, burst
	writer, err := client.New(limits, client.Options{Scheme: m.GetScheme(), Mapper: m.GetRESTMapper()})
	if err != nil {
		return nil, fmt.Errorf("make a client for status: %w", err)
	}
	c := &Controller{
		cache: m.GetCache(), writer: writer, recorder: recorder,
		troubles: make(map[key]map[assign.Scope]trouble),
	}
	t, err := controller.NewTyped("status", m, controller.TypedOptions[key]{Reconciler: c, MaxConcurrentReconciles: 2})
	if err != nil {
		return nil, fmt.Errorf("make the status controller: %w", err)
	}
	first := source.TypedFunc[key](func(_ context.Context, q queue) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.queue = q
		return nil
	})
	return c, errors.Join(
		t.Watch(first),
		watch(m, t, &v1.AzureIdentity{}, func(o *v1.AzureIdentity) []key { return []key{{false, client.ObjectKeyFromObject(o)}} },
			func(old, now *v1.AzureIdentity) bool {
				return old.UID == now.UID && old.Generation == now.Generation && equality.Semantic.DeepEqual(old.Status, now.Status)
			}),
		watch(m, t, &v1.AzureIdentityBinding{}, func(o *v1.AzureIdentityBinding) []key { return []key{{true, client.ObjectKeyFromObject(o)}} },
			func(old, now *v1.AzureIdentityBinding) bool {
				before, had := old.Annotations[v1.AnnotationPreAssign]
				after, has := now.Annotations[v1.AnnotationPreAssign]
				return old.UID == now.UID && old.Generation == now.Generation && had == has && before == after &&
					equality.Semantic.DeepEqual(old.Status, now.Status)
			}),
		watch(m, t, &v1.AzureAssignedIdentity{}, concerned, func(old, now *v1.AzureAssignedIdentity) bool {
			return old.Status.Status == now.Status.Status && (old.DeletionTimestamp == nil) == (now.DeletionTimestamp == nil) && assign.Same(now, old)
		}),
	)
}

// watch has the keys of an object looked at after a pause, once for all events
// in between. Same says whether an update changed nothing that counts.
func watch[T client.Object](m manager.Manager, t controller.TypedController[key], kind T, keys func(T) []key, same func(old, now T) bool) error {
	add := func(q queue, objects ...T) {
		for _, o := range objects {
			for _, k := range keys(o) {
				q.AddAfter(k, pause)
			}
		}
	}
	return t.Watch(source.TypedKind(m.GetCache(), kind, handler.TypedFuncs[T, key]{
		CreateFunc: func(_ context.Context, e event.TypedCreateEvent[T], q queue) { add(q, e.Object) },
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[T], q queue) {
			if !same(e.ObjectOld, e.ObjectNew) {
				add(q, e.ObjectOld, e.ObjectNew)
			}
		},
		DeleteFunc: func(_ context.Context, e event.TypedDeleteEvent[T], q queue) { add(q, e.Object) },
	}))
}

// concerned are the identity and the binding of an object.
func concerned(o *v1.AzureAssignedIdentity) []key {
	var keys []key
	if i := o.Spec.AzureIdentityRef; i != nil {
		keys = append(keys, key{false, types.NamespacedName{Namespace: i.Namespace, Name: i.Name}})
	}
	if b := o.Spec.AzureBindingRef; b != nil {
		keys = append(keys, key{true, types.NamespacedName{Namespace: b.Namespace, Name: b.Name}})
	}
	return keys
}

// Tell takes note of how it stands with an identity on a scope.
func (c *Controller) Tell(scope assign.Scope, identity types.NamespacedName, reason, problem string) {
	c.tell(scope, key{false, identity}, trouble{reason, problem})
}

// TellAdvance takes note of how it stands with a binding whose identity is to be on
// a scope before any pod.
func (c *Controller) TellAdvance(scope assign.Scope, binding types.NamespacedName, reason, problem string) {
	c.tell(scope, key{true, binding}, trouble{reason, problem})
}

// ForgetAdvance takes note that the identity of a binding is not to be on a scope
// before any pod any more.
func (c *Controller) ForgetAdvance(scope assign.Scope, binding types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := key{true, binding}
	delete(c.troubles[k], scope)
	c.look(k) // it may be the last of which nothing was told
}

func (c *Controller) tell(scope assign.Scope, k key, t trouble) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.troubles[k] == nil {
		c.troubles[k] = make(map[assign.Scope]trouble, 1) // empty too: see troublesOf
	}
	if t.problem == "" && !k.binding {
		delete(c.troubles[k], scope)
	} else { // of a binding also that all is well: see allTold
		c.troubles[k][scope] = t
	}
	c.look(k)
}

// look has an object looked at. It is called with mu held.
func (c *Controller) look(k key) {
	if c.queue != nil {
		c.queue.AddAfter(k, pause)
	}
}

// Reconcile writes the status of one object where it is not as it should be.
func (c *Controller) Reconcile(ctx context.Context, k key) (reconcile.Result, error) {
	look := c.identity
	if k.binding {
		look = c.bindingOf
	}
	o, s, err := look(ctx, k.NamespacedName)
	if err != nil || o == nil {
		return reconcile.Result{}, err
	}
	if s.pods == s.podsBefore && equality.Semantic.DeepEqual(s.conditions, s.before) {
		return reconcile.Result{}, nil
	}
	patch, err := json.Marshal(map[string]any{
		// Conditions are an atomic list to a merge patch: only on what was read. The
		// types of others are as they were.
		"metadata": map[string]any{"resourceVersion": o.GetResourceVersion()},
		"status":   map[string]any{"matchedPods": s.pods, "conditions": s.conditions},
	})
	if err != nil {
		return reconcile.Result{}, err
	}
	err = c.writer.Status().Patch(ctx, o, client.RawPatch(types.MergePatchType, patch))
	switch {
	case apierrors.IsConflict(err):
		return reconcile.Result{RequeueAfter: pause}, nil
	case client.IgnoreNotFound(err) != nil:
		return reconcile.Result{}, fmt.Errorf("write the status of %s: %w", k.NamespacedName, err)
	}
	if s.done != nil {
		s.done()
	}
	return reconcile.Result{}, nil
}

// status is what of an object's status is this controller's, and what it was.
type status struct {
	pods, podsBefore   int32
	conditions, before []metav1.Condition
	done               func() // once it is written; may be nil
}

func newStatus(pods int32, conditions []metav1.Condition) status {
	return status{podsBefore: pods, before: conditions, conditions: slices.Clone(conditions)}
}
