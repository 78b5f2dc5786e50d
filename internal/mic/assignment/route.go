package assignment

import (
	"context"
	"errors"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
)

type queue = workqueue.TypedRateLimitingInterface[assign.Scope]

// routed handles the events of one kind: route finds the pods that an object
// concerns, same says whether an update changed nothing that matters.
func routed[T client.Object](r *Reconciler, route func(context.Context, T, touches) error, same func(old, now T) bool) handler.TypedEventHandler[T, assign.Scope] {
	add := func(ctx context.Context, q queue, objects ...T) {
		found := make(touches)
		for _, o := range objects {
			if err := route(ctx, o, found); err != nil {
				r.config.Log.ErrorContext(ctx, "find in the cache what an event concerns", "object", o.GetNamespace()+"/"+o.GetName(), "err", err)
				r.doubt()
			}
		}
		for scope, pods := range found {
			r.touch(scope, pods)
			q.Add(scope)
		}
	}
	return handler.TypedFuncs[T, assign.Scope]{
		CreateFunc: func(ctx context.Context, e event.TypedCreateEvent[T], q queue) { add(ctx, q, e.Object) },
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[T], q queue) {
			if !same(e.ObjectOld, e.ObjectNew) {
				add(ctx, q, e.ObjectOld, e.ObjectNew)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.TypedDeleteEvent[T], q queue) { add(ctx, q, e.Object) },
	}
}

// routeNode touches what is on a node that comes, goes or changes sides, on either.
func (r *Reconciler) routeNode(ctx context.Context, n *corev1.Node, found touches) error {
	now, err := scopeOfNode(ctx, r.config.Cache, n.Name)
	if err != nil {
		return err
	}
	if err := errors.Join(r.ofNode(ctx, scopeOf(n), found), r.vacateNode(ctx, n)); err != nil {
		return err
	}
	return r.onNode(ctx, n.Name, found, scopeOf(n), now, assign.Scope{})
}

// onNode touches the pods on a node, and those of which there are objects for it,
// in some scopes.
func (r *Reconciler) onNode(ctx context.Context, name string, found touches, scopes ...assign.Scope) error {
	var (
		pods    corev1.PodList
		objects v1.AzureAssignedIdentityList
	)
	if err := errors.Join(
		r.config.Cache.List(ctx, &pods, client.MatchingFields{podByNode: name}),
		r.config.Cache.List(ctx, &objects, client.MatchingFields{assignedByNode: name}),
	); err != nil {
		return err
	}
	for _, scope := range scopes {
		for i := range pods.Items {
			found.add(scope, assign.Owner{Namespace: pods.Items[i].Namespace, Name: pods.Items[i].Name})
		}
		for i := range objects.Items {
			found.add(scope, ownerOf(&objects.Items[i]))
		}
	}
	return nil
}

func sameNode(old, now *corev1.Node) bool {
	return old.UID == now.UID && old.Spec.ProviderID == now.Spec.ProviderID && !otherSystem(old, now) && maps.Equal(old.Labels, now.Labels)
}

func (r *Reconciler) routePod(ctx context.Context, p *corev1.Pod, found touches) error {
	if p.Spec.NodeName == "" {
		return nil
	}
	if !labelled(p) { // most pods of a cluster: they concern nobody unless their namespace says so
		binding, err := namespaceBinding(ctx, r.config.Cache, p.Namespace)
		if err != nil {
			return err
		}
		if binding == "" {
			return r.before(ctx, p, found)
		}
	}
	return r.pod(ctx, p, found)
}

// before touches a pod that nothing speaks for if it has objects: its namespace's
// annotation may have gone with it.
func (r *Reconciler) before(ctx context.Context, p *corev1.Pod, found touches) error {
	var list v1.AzureAssignedIdentityList
	err := r.config.Cache.List(ctx, &list, client.MatchingFields{assignedByPod: p.Namespace + "/" + p.Name}, client.Limit(1))
	if err != nil || len(list.Items) == 0 {
		return err
	}
	return r.pod(ctx, p, found)
}

// pod touches a pod in the scope of its node.
func (r *Reconciler) pod(ctx context.Context, p *corev1.Pod, found touches) error {
	scope, err := scopeOfNode(ctx, r.config.Cache, p.Spec.NodeName)
	if err != nil {
		return err
	}
	found.add(scope, assign.Owner{Namespace: p.Namespace, Name: p.Name})
	return nil
}

func samePod(old, now *corev1.Pod) bool {
	return old.UID == now.UID && old.Spec.NodeName == now.Spec.NodeName && bound(old) == bound(now) &&
		labelled(old) == labelled(now) && old.Labels[v1.LabelBinding] == now.Labels[v1.LabelBinding]
}

// routeAssigned touches the pod of an object in the scope that the object is of,
// that of its node, and the pod's own.
func (r *Reconciler) routeAssigned(ctx context.Context, o *v1.AzureAssignedIdentity, found touches) error {
	own, ok := assign.ScopeOf(o)
	if ok {
		found.add(own, ownerOf(o))
	}
	var n corev1.Node
	err := r.config.Cache.Get(ctx, types.NamespacedName{Name: o.Spec.NodeName}, &n)
	switch {
	case client.IgnoreNotFound(err) != nil:
		return err
	case err == nil && n.Spec.ProviderID != "":
		found.add(scopeOf(&n), ownerOf(o))
	default: // the objects tell the scope of the node: all on it may change sides
		scope, err := scopeBefore(ctx, r.config.Cache, o.Spec.NodeName)
		if err != nil {
			return err
		}
		found.add(scope, ownerOf(o))
		if err := r.onNode(ctx, o.Spec.NodeName, found, own, scope, assign.Scope{}); err != nil {
			return err
		}
	}
	var p corev1.Pod
	if err := r.config.Cache.Get(ctx, types.NamespacedName{Namespace: o.Spec.PodNamespace, Name: o.Spec.Pod}, &p); err != nil {
		return client.IgnoreNotFound(err)
	}
	return r.routePod(ctx, &p, found)
}

func sameAssigned(old, now *v1.AzureAssignedIdentity) bool {
	return old.UID == now.UID && (old.DeletionTimestamp == nil) == (now.DeletionTimestamp == nil) &&
		old.Status.Status == now.Status.Status && assign.Same(now, old)
}

func (r *Reconciler) routeBinding(ctx context.Context, b *v1.AzureIdentityBinding, found touches) error {
	if err := r.inAdvance(ctx, b, found); err != nil {
		return err
	}
	if selector := b.Spec.Canonical().Selector; selector != "" {
		if err := r.pods(ctx, found, client.MatchingFields{podBySelector: selector}); err != nil {
			return err
		}
	}
	named, err := namespaceBinding(ctx, r.config.Cache, b.Namespace)
	if err != nil || named != b.Name {
		return err
	}
	return r.pods(ctx, found, client.MatchingFields{podByNamespace: b.Namespace})
}

// routeNamespace touches the pods that the annotation speaks for.
func (r *Reconciler) routeNamespace(ctx context.Context, n *corev1.Namespace, found touches) error {
	if n.Annotations[v1.AnnotationNamespaceBinding] == "" {
		return nil
	}
	return r.pods(ctx, found, client.MatchingFields{podByNamespace: n.Name})
}

func sameNamespace(old, now *corev1.Namespace) bool {
	return old.Annotations[v1.AnnotationNamespaceBinding] == now.Annotations[v1.AnnotationNamespaceBinding]
}

// pods touches some pods.
func (r *Reconciler) pods(ctx context.Context, found touches, which client.MatchingFields) error {
	var list corev1.PodList
	if err := r.config.Cache.List(ctx, &list, which); err != nil {
		return err
	}
	for i := range list.Items {
		if err := r.pod(ctx, &list.Items[i], found); err != nil {
			return err
		}
	}
	return nil
}

func sameBinding(old, now *v1.AzureIdentityBinding) bool {
	before, had := old.Annotations[v1.AnnotationPreAssign]
	after, has := now.Annotations[v1.AnnotationPreAssign]
	return old.UID == now.UID && had == has && before == after &&
		equality.Semantic.DeepEqual(old.Spec.Canonical(), now.Spec.Canonical())
}

func (r *Reconciler) routeIdentity(ctx context.Context, id *v1.AzureIdentity, found touches) error {
	var bindings v1.AzureIdentityBindingList
	if err := r.config.Cache.List(ctx, &bindings, client.MatchingFields{bindingByIdentity: id.Namespace + "/" + id.Name}); err != nil {
		return err
	}
	for i := range bindings.Items {
		if err := r.routeBinding(ctx, &bindings.Items[i], found); err != nil {
			return err
		}
	}
	return nil
}

func sameIdentity(old, now *v1.AzureIdentity) bool {
	return old.UID == now.UID &&
		old.Annotations[v1.AnnotationBehavior] == now.Annotations[v1.AnnotationBehavior] &&
		equality.Semantic.DeepEqual(old.Spec.Canonical(), now.Spec.Canonical())
}
