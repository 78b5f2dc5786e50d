package assignment

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
)

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
	for _, b := range g.inAdvance {
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
