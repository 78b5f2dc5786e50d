package assignment

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/source"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
)

// Add adds the controller to a manager whose cache was made with Options and
// Index. It fills in Cache, Live and Writer of c from the manager.
func Add(m manager.Manager, c Config) error {
	c.Cache, c.Live, c.Writer = m.GetCache(), m.GetAPIReader(), m.GetClient()
	r := newReconciler(c)
	if err := m.Add(r); err != nil {
		return err
	}
	t, err := controller.NewTyped("assignment", m, controller.TypedOptions[assign.Scope]{
		MaxConcurrentReconciles: parallelScopes,
		Reconciler:              r,
		RateLimiter:             rateLimiter(),
	})
	if err != nil {
		return fmt.Errorf("make the assignment controller: %w", err)
	}
	first := source.TypedFunc[assign.Scope](func(_ context.Context, q queue) error {
		r.queue = q
		q.Add(assign.Scope{}) // so that records are read, also when no object is there to raise an event
		return nil
	})
	return errors.Join(
		t.Watch(first),
		watch(m, t, &corev1.Node{}, routed(r, r.routeNode, sameNode)),
		watch(m, t, &corev1.Pod{}, routed(r, r.routePod, samePod)),
		watch(m, t, &corev1.Namespace{}, routed(r, r.routeNamespace, sameNamespace)),
		watch(m, t, &v1.AzureAssignedIdentity{}, routed(r, r.routeAssigned, sameAssigned)),
		watch(m, t, &v1.AzureIdentityBinding{}, routed(r, r.routeBinding, sameBinding)),
		watch(m, t, &v1.AzureIdentity{}, routed(r, r.routeIdentity, sameIdentity)),
	)
}

// rateLimiter says when a scope is looked at again after an error.
func rateLimiter() workqueue.TypedRateLimiter[assign.Scope] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[assign.Scope](50*time.Millisecond, 30*time.Second)
}

func watch[T client.Object](m manager.Manager, t controller.TypedController[assign.Scope], kind T, h handler.TypedEventHandler[T, assign.Scope]) error {
	return t.Watch(source.TypedKind(m.GetCache(), kind, h))
}
