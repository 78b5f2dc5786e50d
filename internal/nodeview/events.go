package nodeview

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
)

// handle has every event of the cache applied to the view. The functions that
// it returns tell whether the first list of each kind has been applied: the
// cache has it earlier.
func (w *Watcher) handle(ctx context.Context, c cache.Cache) ([]toolscache.InformerSynced, error) {
	v := w.view
	var synced []toolscache.InformerSynced
	var errs []error
	add := func(s toolscache.InformerSynced, err error) { synced, errs = append(synced, s), append(errs, err) }
	add(on(ctx, c, &corev1.Pod{}, v.applyPod, func(p *corev1.Pod) { v.deletePod(string(p.UID)) }))
	add(on(ctx, c, &corev1.Namespace{}, v.applyNamespace, func(o *corev1.Namespace) { v.setNamespace(o.Name, "") }))
	add(on(ctx, c, &v1.AzureIdentity{},
		func(o *v1.AzureIdentity) { v.setIdentity(identity.FromAPI(o)) },
		func(o *v1.AzureIdentity) { v.deleteIdentity(nameOf(o)) }))
	add(on(ctx, c, &v1.AzureIdentityBinding{},
		func(o *v1.AzureIdentityBinding) { v.setBinding(identity.BindingFromAPI(o)) },
		func(o *v1.AzureIdentityBinding) { v.deleteBinding(nameOf(o)) }))
	add(on(ctx, c, &v1.AzurePodIdentityException{},
		func(o *v1.AzurePodIdentityException) { v.setException(identity.ExceptionFromAPI(o)) },
		func(o *v1.AzurePodIdentityException) { v.deleteException(nameOf(o)) }))
	if !w.config.Managed {
		add(on(ctx, c, &v1.AzureAssignedIdentity{},
			func(o *v1.AzureAssignedIdentity) { v.setAssigned(nameOf(o), assignmentFromAPI(o)) },
			func(o *v1.AzureAssignedIdentity) { v.deleteAssigned(nameOf(o)) }))
	}
	return synced, errors.Join(errs...)
}

// stripNamespace keeps of a namespace the one annotation.
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

// on calls set and gone for the events of one kind, and returns whether the
// first list has been applied.
func on[T client.Object](ctx context.Context, c cache.Cache, kind T, set, gone func(T)) (toolscache.InformerSynced, error) {
	informer, err := c.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("watch %T: %w", kind, err)
	}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) {
			if t, ok := o.(T); ok {
				set(t)
			}
		},
		UpdateFunc: func(before, now any) {
			old, ok1 := before.(T)
			t, ok2 := now.(T)
			if ok1 && ok2 && old.GetUID() != t.GetUID() {
				gone(old) // deleted and made again while the watch was away
			}
			if ok2 {
				set(t)
			}
		},
		DeleteFunc: func(o any) {
			if d, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = d.Obj
			}
			if t, ok := o.(T); ok {
				gone(t)
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("watch %T: %w", kind, err)
	}
	return registration.HasSynced, nil
}

func nameOf(o metav1.Object) name { return name{o.GetNamespace(), o.GetName()} }

func assignmentFromAPI(o *v1.AzureAssignedIdentity) assignment {
	a := assignment{
		podUID: o.Spec.PodUID,
		pod:    name{o.Spec.PodNamespace, o.Spec.Pod},
		// No state is how AAD Pod Identity before 1.5 wrote "assigned".
		usable: o.Status.Status == v1.Assigned || o.Status.Status == "",
	}
	if ref := o.Spec.AzureIdentityRef; ref != nil {
		spec := ref.Spec.Canonical()
		a.identity = name{ref.Namespace, ref.Name}
		a.resourceID = strings.ToLower(spec.ResourceID)
		a.clientID = strings.ToLower(spec.ClientID)
	}
	return a
}
