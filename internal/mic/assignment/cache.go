package assignment

import (
	"context"
	"errors"
	"fmt"
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
)

// Options says what the cache holds of each kind: of pods, nodes and namespaces
// only what is read.
func Options() map[client.Object]cache.ByObject {
	labels := newSingles(10_000)
	return map[client.Object]cache.ByObject{
		&corev1.Pod{}:               {Transform: func(o any) (any, error) { return stripPod(o, labels) }},
		&corev1.Node{}:              {Transform: stripNode},
		&corev1.Namespace{}:         {Transform: stripNamespace},
		&v1.AzureAssignedIdentity{}: {Transform: newCopies().strip},
	}
}

func stripPod(o any, labels *singles) (any, error) {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return o, nil
	}
	stripped := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: p.Namespace, Name: p.Name, UID: p.UID, ResourceVersion: p.ResourceVersion,
			CreationTimestamp: p.CreationTimestamp,
		},
		Spec: corev1.PodSpec{
			NodeName:           p.Spec.NodeName,
			ServiceAccountName: unique.Make(p.Spec.ServiceAccountName).Value(),
		},
		Status: corev1.PodStatus{Phase: p.Status.Phase},
	}
	if l, ok := p.Labels[v1.LabelBinding]; ok {
		stripped.Labels = labels.of(map[string]string{v1.LabelBinding: l})
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled {
			stripped.Status.Conditions = []corev1.PodCondition{{Type: c.Type, LastTransitionTime: c.LastTransitionTime}}
		}
	}
	return stripped, nil
}

func stripNode(o any) (any, error) {
	n, ok := o.(*corev1.Node)
	if !ok {
		return o, nil
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion, Labels: n.Labels},
		Spec:       corev1.NodeSpec{ProviderID: n.Spec.ProviderID},
		Status:     corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{SystemUUID: n.Status.NodeInfo.SystemUUID}},
	}, nil
}

func stripNamespace(o any) (any, error) {
	n, ok := o.(*corev1.Namespace)
	if !ok {
		return o, nil
	}
	stripped := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion}}
	if a, ok := n.Annotations[v1.AnnotationNamespaceBinding]; ok {
		stripped.Annotations = map[string]string{v1.AnnotationNamespaceBinding: a}
	}
	return stripped, nil
}

// Names of the indexes.
const (
	nodeByScope     = "scope"
	podByNode       = "node"
	podBySelector   = "selector"
	podByNamespace  = "namespace" // those without the label
	assignedByNode  = "node"
	assignedByPod   = "pod"
	assignedByScope = "scope"
	// AssignedByIdentity and AssignedByBinding are by the namespace and name of what
	// an object is a copy of.
	AssignedByIdentity = "identity"
	AssignedByBinding  = "binding"
	bindingBySelector  = "selector"
	bindingByIdentity  = "identity"
	bindingInAdvance   = "pre-assign" // those with the annotation, under inAdvance
	inAdvance          = "true"
)

// Index adds the indexes, and with them the informers, to a cache that has not
// been started.
func Index(ctx context.Context, c client.FieldIndexer) error {
	for _, i := range []struct {
		kind client.Object
		name string
		key  func(client.Object) string
	}{
		{&corev1.Node{}, nodeByScope, on(func(n *corev1.Node) string { return scopeOf(n).ID() })},
		{&corev1.Pod{}, podByNode, on(func(p *corev1.Pod) string {
			if !bound(p) {
				return ""
			}
			return p.Spec.NodeName
		})},
		{&corev1.Pod{}, podBySelector, on(func(p *corev1.Pod) string {
			if !bound(p) {
				return ""
			}
			return p.Labels[v1.LabelBinding]
		})},
		{&corev1.Pod{}, podByNamespace, on(func(p *corev1.Pod) string {
			if !bound(p) || labelled(p) {
				return ""
			}
			return p.Namespace
		})},
		{&v1.AzureAssignedIdentity{}, assignedByNode, on(func(o *v1.AzureAssignedIdentity) string { return o.Spec.NodeName })},
		{&v1.AzureAssignedIdentity{}, assignedByPod, on(func(o *v1.AzureAssignedIdentity) string {
			return o.Spec.PodNamespace + "/" + o.Spec.Pod
		})},
		{&v1.AzureAssignedIdentity{}, assignedByScope, on(func(o *v1.AzureAssignedIdentity) string {
			scope, _ := assign.ScopeOf(o) // zero, of which the id is empty, where it says none
			return scope.ID()
		})},
		{&v1.AzureAssignedIdentity{}, AssignedByIdentity, on(func(o *v1.AzureAssignedIdentity) string {
			if o.Spec.AzureIdentityRef == nil {
				return ""
			}
			return o.Spec.AzureIdentityRef.Namespace + "/" + o.Spec.AzureIdentityRef.Name
		})},
		{&v1.AzureAssignedIdentity{}, AssignedByBinding, on(func(o *v1.AzureAssignedIdentity) string {
			if o.Spec.AzureBindingRef == nil {
				return ""
			}
			return o.Spec.AzureBindingRef.Namespace + "/" + o.Spec.AzureBindingRef.Name
		})},
		{&v1.AzureIdentityBinding{}, bindingBySelector, on(func(b *v1.AzureIdentityBinding) string { return b.Spec.Canonical().Selector })},
		{&v1.AzureIdentityBinding{}, bindingByIdentity, on(func(b *v1.AzureIdentityBinding) string {
			return b.Namespace + "/" + b.Spec.Canonical().AzureIdentity
		})},
		{&v1.AzureIdentityBinding{}, bindingInAdvance, on(func(b *v1.AzureIdentityBinding) string {
			if _, ok := b.Annotations[v1.AnnotationPreAssign]; ok {
				return inAdvance
			}
			return ""
		})},
	} {
		keys := func(o client.Object) []string {
			if k := i.key(o); k != "" {
				return []string{k}
			}
			return nil
		}
		if err := c.IndexField(ctx, i.kind, i.name, keys); err != nil {
			return fmt.Errorf("index %T by %s: %w", i.kind, i.name, err)
		}
	}
	// These are read by name; this has the cache hold them on a standby too.
	byName := func(o client.Object) []string { return []string{o.GetName()} }
	return errors.Join(
		c.IndexField(ctx, &v1.AzureIdentity{}, "name", byName),
		c.IndexField(ctx, &corev1.Namespace{}, "name", byName),
	)
}

// on makes a key function of one kind a key function of objects.
func on[T client.Object](key func(T) string) func(client.Object) string {
	return func(o client.Object) string {
		if t, ok := o.(T); ok {
			return key(t)
		}
		return ""
	}
}
