package assignment

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/identity"
)

// snapshot gathers all that concerns a scope from the cache.
func (r *Reconciler) snapshot(ctx context.Context, scope assign.Scope, record assign.Record) (assign.Snapshot, error) {
	g := gatherer{ctx: ctx, cache: r.config.Cache, assigned: make(map[types.NamespacedName]*v1.AzureAssignedIdentity)}
	var err error
	if scope == (assign.Scope{}) {
		err = g.outside()
	} else {
		err = g.inside(scope)
	}
	if err == nil {
		err = g.defined()
	}
	if err != nil {
		return assign.Snapshot{}, fmt.Errorf("gather what concerns %s: %w", scope, err)
	}
	s := assign.Snapshot{
		Scope: scope,
		Pods:  g.pods, Bindings: g.bindings, Identities: g.identities,
		Record: record, Rules: r.config.Rules,
	}
	for _, o := range g.assigned {
		s.Assigned = append(s.Assigned, o)
	}
	return s, nil
}

// gatherer collects the parts of one snapshot.
type gatherer struct {
	ctx   context.Context //nolint:containedctx // lives for one snapshot
	cache client.Reader

	pods       []identity.Pod
	assigned   map[types.NamespacedName]*v1.AzureAssignedIdentity
	bindings   []*v1.AzureIdentityBinding
	identities []*v1.AzureIdentity
}

// inside gathers pods and assigned identities by the nodes of a scope, also those
// of which the Node object is gone while they still have pods.
func (g *gatherer) inside(scope assign.Scope) error {
	var nodes corev1.NodeList
	if err := g.cache.List(g.ctx, &nodes, client.MatchingFields{nodeByScope: scope.ID()}); err != nil {
		return err
	}
	names := make(map[string]bool) // whether the node is in the scope
	for i := range nodes.Items {
		names[nodes.Items[i].Name] = true
	}
	var list v1.AzureAssignedIdentityList
	if err := g.cache.List(g.ctx, &list, client.MatchingFields{assignedByScope: scope.ID()}); err != nil {
		return err
	}
	for i := range list.Items {
		name := list.Items[i].Spec.NodeName
		if _, ok := names[name]; ok {
			continue
		}
		now, err := scopeOfNode(g.ctx, g.cache, name)
		if err != nil {
			return err
		}
		names[name] = now == scope
	}
	for name, in := range names {
		if !in {
			continue
		}
		if err := g.node(name); err != nil {
			return err
		}
	}
	return g.ofPods()
}

func (g *gatherer) node(name string) error {
	var pods corev1.PodList
	if err := g.cache.List(g.ctx, &pods, client.MatchingFields{podByNode: name}); err != nil {
		return err
	}
	for i := range pods.Items {
		g.pods = append(g.pods, readPod(&pods.Items[i]))
	}
	return g.listAssigned(client.MatchingFields{assignedByNode: name})
}

// ofPods adds the objects for the gathered pods, wherever they say they are: a
// pod of a StatefulSet that has come back on another node finds the name taken.
func (g *gatherer) ofPods() error {
	for _, p := range g.pods {
		if err := g.listAssigned(client.MatchingFields{assignedByPod: p.Namespace + "/" + p.Name}); err != nil {
			return err
		}
	}
	return nil
}

func (g *gatherer) listAssigned(which client.MatchingFields) error {
	var list v1.AzureAssignedIdentityList
	if err := g.cache.List(g.ctx, &list, which); err != nil {
		return err
	}
	for i := range list.Items {
		g.assigned[client.ObjectKeyFromObject(&list.Items[i])] = &list.Items[i]
	}
	return nil
}

// outside gathers pods and assigned identities of nodes that are gone or have
// no scope.
func (g *gatherer) outside() error {
	known := make(map[string]bool) // whether the node has a scope
	inScope := func(node string) (bool, error) {
		if in, ok := known[node]; ok {
			return in, nil
		}
		scope, err := scopeOfNode(g.ctx, g.cache, node)
		known[node] = scope != (assign.Scope{})
		return known[node], err
	}
	var pods corev1.PodList
	if err := g.cache.List(g.ctx, &pods); err != nil {
		return err
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		in, err := inScope(p.Spec.NodeName)
		if err != nil {
			return err
		}
		if !in && bound(p) {
			g.pods = append(g.pods, readPod(p))
		}
	}
	var list v1.AzureAssignedIdentityList
	if err := g.cache.List(g.ctx, &list); err != nil {
		return err
	}
	for i := range list.Items {
		in, err := inScope(list.Items[i].Spec.NodeName)
		if err != nil {
			return err
		}
		if !in {
			g.assigned[client.ObjectKeyFromObject(&list.Items[i])] = &list.Items[i]
		}
	}
	return g.ofPods()
}

// defined adds the bindings that the gathered pods could match, and their
// identities.
func (g *gatherer) defined() error {
	selectors := make(map[string]bool)
	identities := make(map[types.NamespacedName]bool)
	for _, p := range g.pods {
		if p.Selector == "" || selectors[p.Selector] {
			continue
		}
		selectors[p.Selector] = true
		var list v1.AzureIdentityBindingList
		if err := g.cache.List(g.ctx, &list, client.MatchingFields{bindingBySelector: p.Selector}); err != nil {
			return err
		}
		for i := range list.Items {
			b := &list.Items[i]
			g.bindings = append(g.bindings, b)
			identities[types.NamespacedName{Namespace: b.Namespace, Name: b.Spec.Canonical().AzureIdentity}] = true
		}
	}
	for name := range identities {
		var id v1.AzureIdentity
		if err := g.cache.Get(g.ctx, name, &id); apierrors.IsNotFound(err) {
			continue
		} else if err != nil {
			return err
		}
		g.identities = append(g.identities, &id)
	}
	return nil
}

// bound reports whether a pod is on a node and has not ended.
func bound(p *corev1.Pod) bool {
	return p.Spec.NodeName != "" && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

func readPod(p *corev1.Pod) identity.Pod {
	return identity.Pod{
		Namespace: p.Namespace, Name: p.Name, UID: string(p.UID),
		Node: p.Spec.NodeName, Selector: p.Labels[v1.LabelBinding], Created: p.CreationTimestamp.Time,
	}
}

// scopeOfNode is the scope of a node: zero for one that has no providerID of
// Azure. A Node that is gone, or that does not say yet, has the scope that it had:
// its pods may well run on, and their identities are not taken from under them.
func scopeOfNode(ctx context.Context, cache client.Reader, name string) (assign.Scope, error) {
	if name == "" {
		return assign.Scope{}, nil
	}
	var n corev1.Node
	if err := cache.Get(ctx, types.NamespacedName{Name: name}, &n); client.IgnoreNotFound(err) != nil {
		return assign.Scope{}, err
	}
	if n.Spec.ProviderID != "" {
		return scopeOf(&n), nil
	}
	return scopeBefore(ctx, cache, name)
}

// scopeBefore is the scope that a node had, as the objects for its pods say.
func scopeBefore(ctx context.Context, cache client.Reader, name string) (assign.Scope, error) {
	var list v1.AzureAssignedIdentityList
	if err := cache.List(ctx, &list, client.MatchingFields{assignedByNode: name}); err != nil {
		return assign.Scope{}, err
	}
	var first assign.Scope // of several, which is when a name was used again: always the same
	for i := range list.Items {
		if scope, ok := assign.ScopeOf(&list.Items[i]); ok && (first == (assign.Scope{}) || scope.ID() < first.ID()) {
			first = scope
		}
	}
	return first, nil
}

func scopeOf(n *corev1.Node) assign.Scope {
	scope, err := assign.ParseProviderID(n.Spec.ProviderID)
	if err != nil {
		return assign.Scope{}
	}
	return scope
}
