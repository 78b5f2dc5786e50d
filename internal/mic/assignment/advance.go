package assignment

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
)

// Nodes reads the annotation of a binding that says on which nodes its identity is
// to be before any pod. It returns nil for a binding without it, and an error for
// one that is no selector.
func Nodes(b *v1.AzureIdentityBinding) (labels.Selector, error) {
	text, ok := b.Annotations[v1.AnnotationPreAssign]
	switch {
	case !ok:
		return nil, nil
	case text == "" || text == "*":
		return labels.Everything(), nil
	default:
		return labels.Parse(text)
	}
}

// wants reports whether the identity of a binding is to be on one of the nodes.
func wants(b *v1.AzureIdentityBinding, nodes *corev1.NodeList) bool {
	selector, err := Nodes(b)
	if err != nil || selector == nil { // its condition says so
		return false
	}
	for i := range nodes.Items {
		if selector.Matches(labels.Set(nodes.Items[i].Labels)) {
			return true
		}
	}
	return false
}

// inAdvance touches a binding in the scopes of the nodes that it selects.
func (r *Reconciler) inAdvance(ctx context.Context, b *v1.AzureIdentityBinding, found touches) error {
	selector, err := Nodes(b)
	if err != nil || selector == nil {
		return nil //nolint:nilerr // its condition says so
	}
	var nodes corev1.NodeList
	if err := r.config.Cache.List(ctx, &nodes); err != nil {
		return err
	}
	for i := range nodes.Items {
		n := &nodes.Items[i]
		if scope := scopeOf(n); scope != (assign.Scope{}) && selector.Matches(labels.Set(n.Labels)) {
			found.add(scope, advance(b))
		}
	}
	return nil
}

// ofNode touches all such bindings in the scope of a node.
func (r *Reconciler) ofNode(ctx context.Context, scope assign.Scope, found touches) error {
	if scope == (assign.Scope{}) {
		return nil
	}
	var bindings v1.AzureIdentityBindingList
	if err := r.config.Cache.List(ctx, &bindings, client.MatchingFields{bindingInAdvance: inAdvance}); err != nil {
		return err
	}
	for i := range bindings.Items {
		found.add(scope, advance(&bindings.Items[i]))
	}
	return nil
}

// advance is the binding as an owner.
func advance(b *v1.AzureIdentityBinding) assign.Owner {
	return assign.Owner{Binding: true, Namespace: b.Namespace, Name: b.Name}
}

// reportAdvance tells, once per problem, of bindings whose identity is not on the
// scope before any pod, and takes it back when it holds no more.
func (r *Reconciler) reportAdvance(scope assign.Scope, s *state, plan assign.Plan, t touched) {
	wanted := make(owners, len(plan.Advance))
	for _, a := range plan.Advance {
		wanted[advance(a.Binding)] = struct{}{}
		reason, why := "", ""
		switch {
		case a.Why != "":
			reason, why = v1.ReasonInvalid, a.Why
		case !a.There:
			reason, why = s.why(a.ID)
		}
		r.tellAdvance(scope, s, a, reason, why)
	}
	left := func(o assign.Owner) bool { return o.Binding && !wanted.has(o) }
	for o := range t.pods { // also where nothing was told yet: see Status
		if left(o) {
			r.leaveAdvance(scope, s, types.NamespacedName{Namespace: o.Namespace, Name: o.Name})
		}
	}
	for binding := range s.advance {
		if t.all && left(assign.Owner{Binding: true, Namespace: binding.Namespace, Name: binding.Name}) {
			r.leaveAdvance(scope, s, binding)
		}
	}
}

// tellAdvance tells what is in the way of a binding. That all is well is told the
// first time too: a leader before may have told otherwise.
func (r *Reconciler) tellAdvance(scope assign.Scope, s *state, a assign.Advance, reason, problem string) {
	b := a.Binding
	key, is := client.ObjectKeyFromObject(b), essence(reason, problem)
	was, told := s.advance[key]
	if was == is && (told || !a.There) {
		return
	}
	s.advance[key] = is
	if r.config.Status != nil {
		r.config.Status.TellAdvance(scope, key, reason, problem)
	}
	if problem != "" {
		r.config.Recorder.Eventf(b, nil, corev1.EventTypeWarning, reasonFailed, actionAssign, "%s", cut(scope.String()+": "+problem))
	}
}

// leaveAdvance tells that the scope is not one of a binding's any more.
func (r *Reconciler) leaveAdvance(scope assign.Scope, s *state, binding types.NamespacedName) {
	delete(s.advance, binding)
	if r.config.Status != nil {
		r.config.Status.ForgetAdvance(scope, binding)
	}
}

// binding gathers a binding whose identity is to be on the scope in advance.
func (g *gatherer) binding(o assign.Owner) error {
	var b v1.AzureIdentityBinding
	if err := g.cache.Get(g.ctx, types.NamespacedName{Namespace: o.Namespace, Name: o.Name}, &b); err != nil {
		return client.IgnoreNotFound(err)
	}
	return g.ifWanted(&b)
}

// bindingsInAdvance gathers all such bindings.
func (g *gatherer) bindingsInAdvance() error {
	var list v1.AzureIdentityBindingList
	if err := g.cache.List(g.ctx, &list, client.MatchingFields{bindingInAdvance: inAdvance}); err != nil {
		return err
	}
	for i := range list.Items {
		if err := g.ifWanted(&list.Items[i]); err != nil {
			return err
		}
	}
	return nil
}

func (g *gatherer) ifWanted(b *v1.AzureIdentityBinding) error {
	if g.nodes == nil {
		var nodes corev1.NodeList
		if err := g.cache.List(g.ctx, &nodes, client.MatchingFields{nodeByScope: g.scope.ID()}); err != nil {
			return err
		}
		g.nodes = &nodes
	}
	if wants(b, g.nodes) {
		g.inAdvance = append(g.inAdvance, b)
	}
	return nil
}
