package assignment

import (
	"context"

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

// scopeSet collects the scopes that an event concerns.
type scopeSet map[assign.Scope]struct{}

// routed handles the events of one kind: route finds the scopes that an object
// concerns, same says whether an update changed nothing that matters.
func routed[T client.Object](route func(context.Context, T, scopeSet), same func(old, now T) bool) handler.TypedEventHandler[T, assign.Scope] {
	add := func(ctx context.Context, q queue, objects ...T) {
		scopes := make(scopeSet)
		for _, o := range objects {
			route(ctx, o, scopes)
		}
		for s := range scopes {
			q.Add(s)
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

// node adds the scope of a node by its name.
func (r *Reconciler) node(ctx context.Context, name string, scopes scopeSet) {
	scope, err := scopeOfNode(ctx, r.config.Cache, name)
	if err != nil {
		r.config.Log.ErrorContext(ctx, "read a node from the cache", "node", name, "err", err)
		return
	}
	scopes[scope] = struct{}{}
}

func (r *Reconciler) routeNode(_ context.Context, n *corev1.Node, scopes scopeSet) {
	scopes[scopeOf(n)] = struct{}{}
	scopes[assign.Scope{}] = struct{}{} // what is on a node that comes or goes changes sides
}

func sameNode(old, now *corev1.Node) bool { return old.Spec.ProviderID == now.Spec.ProviderID }

func (r *Reconciler) routePod(ctx context.Context, p *corev1.Pod, scopes scopeSet) {
	if p.Spec.NodeName == "" {
		return
	}
	if !labelled(p) { // most pods of a cluster: they concern nobody unless their namespace says so
		binding, err := namespaceBinding(ctx, r.config.Cache, p.Namespace)
		if err != nil {
			r.config.Log.ErrorContext(ctx, "read a namespace from the cache", "namespace", p.Namespace, "err", err)
			return
		}
		if binding == "" {
			return
		}
	}
	r.node(ctx, p.Spec.NodeName, scopes)
}

func samePod(old, now *corev1.Pod) bool {
	return old.UID == now.UID && old.Spec.NodeName == now.Spec.NodeName && bound(old) == bound(now) &&
		labelled(old) == labelled(now) && old.Labels[v1.LabelBinding] == now.Labels[v1.LabelBinding]
}

// routeAssigned adds the scope that the object is of, and that of its pod.
func (r *Reconciler) routeAssigned(ctx context.Context, o *v1.AzureAssignedIdentity, scopes scopeSet) {
	r.node(ctx, o.Spec.NodeName, scopes)
	if scope, ok := assign.ScopeOf(o); ok {
		scopes[scope] = struct{}{}
	}
	var p corev1.Pod
	if err := r.config.Cache.Get(ctx, types.NamespacedName{Namespace: o.Spec.PodNamespace, Name: o.Spec.Pod}, &p); err == nil {
		r.routePod(ctx, &p, scopes)
	}
}

func sameAssigned(old, now *v1.AzureAssignedIdentity) bool {
	return old.ResourceVersion == now.ResourceVersion
}

func (r *Reconciler) routeBinding(ctx context.Context, b *v1.AzureIdentityBinding, scopes scopeSet) {
	if selector := b.Spec.Canonical().Selector; selector != "" {
		r.nodesOf(ctx, scopes, client.MatchingFields{podBySelector: selector})
	}
	named, err := namespaceBinding(ctx, r.config.Cache, b.Namespace)
	if err != nil {
		r.config.Log.ErrorContext(ctx, "read a namespace from the cache", "namespace", b.Namespace, "err", err)
		return
	}
	if named == b.Name {
		r.nodesOf(ctx, scopes, client.MatchingFields{podByNamespace: b.Namespace})
	}
}

// routeNamespace adds the scopes of the pods that the annotation speaks for.
func (r *Reconciler) routeNamespace(ctx context.Context, n *corev1.Namespace, scopes scopeSet) {
	if n.Annotations[v1.AnnotationNamespaceBinding] != "" {
		r.nodesOf(ctx, scopes, client.MatchingFields{podByNamespace: n.Name})
	}
}

func sameNamespace(old, now *corev1.Namespace) bool {
	return old.Annotations[v1.AnnotationNamespaceBinding] == now.Annotations[v1.AnnotationNamespaceBinding]
}

// nodesOf adds the scopes of the nodes of some pods.
func (r *Reconciler) nodesOf(ctx context.Context, scopes scopeSet, which client.MatchingFields) {
	var pods corev1.PodList
	if err := r.config.Cache.List(ctx, &pods, which); err != nil {
		r.config.Log.ErrorContext(ctx, "list pods in the cache", "which", which, "err", err)
		return
	}
	nodes := make(map[string]bool)
	for i := range pods.Items {
		if n := pods.Items[i].Spec.NodeName; !nodes[n] {
			nodes[n] = true
			r.node(ctx, n, scopes)
		}
	}
}

func sameBinding(old, now *v1.AzureIdentityBinding) bool {
	return old.UID == now.UID && equality.Semantic.DeepEqual(old.Spec.Canonical(), now.Spec.Canonical())
}

func (r *Reconciler) routeIdentity(ctx context.Context, id *v1.AzureIdentity, scopes scopeSet) {
	var bindings v1.AzureIdentityBindingList
	name := id.Namespace + "/" + id.Name
	if err := r.config.Cache.List(ctx, &bindings, client.MatchingFields{bindingByIdentity: name}); err != nil {
		r.config.Log.ErrorContext(ctx, "list bindings in the cache", "identity", name, "err", err)
		return
	}
	for i := range bindings.Items {
		r.routeBinding(ctx, &bindings.Items[i], scopes)
	}
}

func sameIdentity(old, now *v1.AzureIdentity) bool {
	return old.UID == now.UID &&
		old.Annotations[v1.AnnotationBehavior] == now.Annotations[v1.AnnotationBehavior] &&
		equality.Semantic.DeepEqual(old.Spec.Canonical(), now.Spec.Canonical())
}
