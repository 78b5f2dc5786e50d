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
	g := gatherer{
		ctx: ctx, cache: r.config.Cache,
		assigned: make(map[types.NamespacedName]*v1.AzureAssignedIdentity), annotated: make(map[string]string),
	}
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
	annotated  map[string]string // by namespace, the binding of its pods without a label
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
		if err := g.pod(&pods.Items[i]); err != nil {
			return err
		}
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
		if in || !bound(p) {
			continue
		}
		if err := g.pod(p); err != nil {
			return err
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

// pod adds a pod that asks for an identity, by its label or its namespace's
// annotation.
func (g *gatherer) pod(p *corev1.Pod) error {
	read := identity.Pod{
		Namespace: p.Namespace, Name: p.Name, UID: string(p.UID),
		Node: p.Spec.NodeName, Selector: p.Labels[v1.LabelBinding], Created: p.CreationTimestamp.Time,
	}
	if !labelled(p) {
		binding, known := g.annotated[p.Namespace]
		if !known {
			var err error
			if binding, err = namespaceBinding(g.ctx, g.cache, p.Namespace); err != nil {
				return err
			}
			g.annotated[p.Namespace] = binding
		}
		read.NamespaceBinding = binding
	}
	if read.Labelled() {
		g.pods = append(g.pods, read)
	}
	return nil
}

// defined adds the bindings that the gathered pods could match, and their
// identities.
func (g *gatherer) defined() error {
	bindings := make(map[types.NamespacedName]*v1.AzureIdentityBinding)
	looked := make(map[string]bool) // by selector
	for _, p := range g.pods {
		var err error
		switch {
		case p.Selector == "":
			err = g.named(types.NamespacedName{Namespace: p.Namespace, Name: p.NamespaceBinding}, bindings)
		case !looked[p.Selector]:
			looked[p.Selector] = true
			err = g.selecting(p.Selector, bindings)
		}
		if err != nil {
			return err
		}
	}
	identities := make(map[types.NamespacedName]bool)
	for _, b := range bindings {
		g.bindings = append(g.bindings, b)
		identities[types.NamespacedName{Namespace: b.Namespace, Name: b.Spec.Canonical().AzureIdentity}] = true
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

// named adds the binding of a name, if there is one.
func (g *gatherer) named(n types.NamespacedName, bindings map[types.NamespacedName]*v1.AzureIdentityBinding) error {
	if bindings[n] != nil {
		return nil
	}
	var b v1.AzureIdentityBinding
	if err := g.cache.Get(g.ctx, n, &b); err != nil {
		return client.IgnoreNotFound(err)
	}
	bindings[n] = &b
	return nil
}

// selecting adds the bindings with a selector.
func (g *gatherer) selecting(selector string, bindings map[types.NamespacedName]*v1.AzureIdentityBinding) error {
	var list v1.AzureIdentityBindingList
	if err := g.cache.List(g.ctx, &list, client.MatchingFields{bindingBySelector: selector}); err != nil {
		return err
	}
	for i := range list.Items {
		bindings[client.ObjectKeyFromObject(&list.Items[i])] = &list.Items[i]
	}
	return nil
}

// bound reports whether a pod is on a node and has not ended.
func bound(p *corev1.Pod) bool {
	return p.Spec.NodeName != "" && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

// labelled reports whether a pod has the label, be it empty, which keeps it out of
// its namespace's annotation.
func labelled(p *corev1.Pod) bool {
	_, ok := p.Labels[v1.LabelBinding]
	return ok
}

// namespaceBinding is the binding that a namespace's annotation names; empty for
// none.
func namespaceBinding(ctx context.Context, cache client.Reader, namespace string) (string, error) {
	var n corev1.Namespace
	if err := cache.Get(ctx, types.NamespacedName{Name: namespace}, &n); err != nil {
		return "", client.IgnoreNotFound(err)
	}
	return n.Annotations[v1.AnnotationNamespaceBinding], nil
}
