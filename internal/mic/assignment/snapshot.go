package assignment

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/identity"
)

// snapshot gathers what concerns the pods of a scope that were touched, but for
// those that are held back, from the cache.
func (r *Reconciler) snapshot(ctx context.Context, scope assign.Scope, of *state, t touched, held owners) (assign.Snapshot, error) {
	g := gatherer{
		ctx: ctx, cache: r.config.Cache, scope: scope, held: held,
		scopes:   make(map[string]assign.Scope),
		assigned: make(map[types.NamespacedName]*v1.AzureAssignedIdentity), annotated: make(map[string]string),
	}
	var err error
	switch {
	case !t.all:
		err = g.some(t.pods)
	case scope == (assign.Scope{}):
		err = g.outside()
	default:
		err = g.inside()
	}
	if err == nil {
		err = g.defined()
	}
	if err != nil {
		return assign.Snapshot{}, fmt.Errorf("gather what concerns %s: %w", scope, err)
	}
	s := assign.Snapshot{
		Scope: scope,
		Pods:  g.pods, Bindings: g.bindings, Identities: g.identities, PreAssigned: g.inAdvance,
		Record: of.machine.Record(), Doubted: of.doubted, Rules: r.config.Rules,
	}
	for _, o := range g.assigned {
		s.Assigned = append(s.Assigned, o)
	}
	return s, nil
}

// gatherer collects the parts of one snapshot.
type gatherer struct {
	ctx    context.Context //nolint:containedctx // lives for one snapshot
	cache  client.Reader
	scope  assign.Scope
	held   owners                  // of whom nothing is gathered
	scopes map[string]assign.Scope // of nodes that have been looked up

	pods       []identity.Pod
	assigned   map[types.NamespacedName]*v1.AzureAssignedIdentity
	bindings   []*v1.AzureIdentityBinding
	identities []*v1.AzureIdentity
	inAdvance  []*v1.AzureIdentityBinding
	nodes      *corev1.NodeList  // of the scope; nil until they are asked for
	annotated  map[string]string // by namespace, the binding of its pods without a label
}

// here reports whether a node is in the scope.
func (g *gatherer) here(node string) (bool, error) {
	scope, known := g.scopes[node]
	if !known {
		var err error
		if scope, err = scopeOfNode(g.ctx, g.cache, node); err != nil {
			return false, err
		}
		g.scopes[node] = scope
	}
	return scope == g.scope, nil
}

// some gathers some pods that are in the scope, and the objects for them that are.
func (g *gatherer) some(pods owners) error {
	for o := range pods {
		if g.held.has(o) {
			continue
		}
		gather := g.one
		if o.Binding {
			gather = g.binding
		}
		if err := gather(o); err != nil {
			return err
		}
	}
	return nil
}

func (g *gatherer) one(o assign.Owner) error {
	var p corev1.Pod
	err := g.cache.Get(g.ctx, types.NamespacedName{Namespace: o.Namespace, Name: o.Name}, &p)
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	ours := false
	if err == nil && bound(&p) {
		if ours, err = g.here(p.Spec.NodeName); err != nil {
			return err
		}
	}
	if ours {
		if ours, err = g.pod(&p); err != nil {
			return err
		}
	}
	return g.ofPod(o, ours)
}

// ofPod adds the objects for a pod that are in the scope; for one that is itself,
// wherever they say they are: a pod of a StatefulSet that has come back on another
// node finds the name taken.
func (g *gatherer) ofPod(o assign.Owner, anywhere bool) error {
	var list v1.AzureAssignedIdentityList
	if err := g.cache.List(g.ctx, &list, client.MatchingFields{assignedByPod: o.Namespace + "/" + o.Name}); err != nil {
		return err
	}
	for i := range list.Items {
		add := anywhere
		if !add {
			var err error
			if add, err = g.here(list.Items[i].Spec.NodeName); err != nil {
				return err
			}
		}
		if add {
			g.object(&list.Items[i])
		}
	}
	return nil
}

func (g *gatherer) object(o *v1.AzureAssignedIdentity) {
	if !g.held.has(ownerOf(o)) {
		g.assigned[client.ObjectKeyFromObject(o)] = o
	}
}

// inside gathers pods and assigned identities by the nodes of a scope, also those
// of which the Node object is gone while they still have pods.
func (g *gatherer) inside() error {
	var nodes corev1.NodeList
	if err := g.cache.List(g.ctx, &nodes, client.MatchingFields{nodeByScope: g.scope.ID()}); err != nil {
		return err
	}
	names := make(map[string]bool) // whether the node is in the scope
	for i := range nodes.Items {
		names[nodes.Items[i].Name] = true
	}
	var list v1.AzureAssignedIdentityList
	if err := g.cache.List(g.ctx, &list, client.MatchingFields{assignedByScope: g.scope.ID()}); err != nil {
		return err
	}
	for i := range list.Items {
		name := list.Items[i].Spec.NodeName
		if _, ok := names[name]; ok {
			continue
		}
		here, err := g.here(name)
		if err != nil {
			return err
		}
		names[name] = here
	}
	for name, here := range names {
		if !here {
			continue
		}
		if err := g.node(name); err != nil {
			return err
		}
	}
	return errors.Join(g.ofPods(), g.bindingsInAdvance())
}

func (g *gatherer) node(name string) error {
	var pods corev1.PodList
	if err := g.cache.List(g.ctx, &pods, client.MatchingFields{podByNode: name}); err != nil {
		return err
	}
	for i := range pods.Items {
		if _, err := g.pod(&pods.Items[i]); err != nil {
			return err
		}
	}
	var list v1.AzureAssignedIdentityList
	if err := g.cache.List(g.ctx, &list, client.MatchingFields{assignedByNode: name}); err != nil {
		return err
	}
	for i := range list.Items {
		g.object(&list.Items[i])
	}
	return nil
}

// ofPods adds the objects for the gathered pods.
func (g *gatherer) ofPods() error {
	for _, p := range g.pods {
		if err := g.ofPod(assign.Owner{Namespace: p.Namespace, Name: p.Name}, true); err != nil {
			return err
		}
	}
	return nil
}

// outside gathers pods and assigned identities of nodes that are gone or have
// no scope.
func (g *gatherer) outside() error {
	var pods corev1.PodList
	if err := g.cache.List(g.ctx, &pods); err != nil {
		return err
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		if !bound(p) {
			continue
		}
		here, err := g.here(p.Spec.NodeName)
		if err == nil && here {
			_, err = g.pod(p)
		}
		if err != nil {
			return err
		}
	}
	var list v1.AzureAssignedIdentityList
	if err := g.cache.List(g.ctx, &list); err != nil {
		return err
	}
	for i := range list.Items {
		here, err := g.here(list.Items[i].Spec.NodeName)
		if err != nil {
			return err
		}
		if here {
			g.object(&list.Items[i])
		}
	}
	return g.ofPods()
}

// pod adds a pod that asks for an identity, by its label or its namespace's
// annotation, and reports whether it does.
func (g *gatherer) pod(p *corev1.Pod) (bool, error) {
	if g.held.has(assign.Owner{Namespace: p.Namespace, Name: p.Name}) {
		return false, nil
	}
	read := identity.Pod{
		Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), ServiceAccount: p.Spec.ServiceAccountName,
		Node: p.Spec.NodeName, Selector: p.Labels[v1.LabelBinding], Created: p.CreationTimestamp.Time,
	}
	if !labelled(p) {
		binding, known := g.annotated[p.Namespace]
		if !known {
			var err error
			if binding, err = namespaceBinding(g.ctx, g.cache, p.Namespace); err != nil {
				return false, err
			}
			g.annotated[p.Namespace] = binding
		}
		read.NamespaceBinding = binding
	}
	if read.Labelled() {
		g.pods = append(g.pods, read)
	}
	return read.Labelled(), nil
}
