package cleanup

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/taint"
)

const (
	// parallel is how many objects are deleted at once.
	parallel = 20
	// page is how many objects are listed at once.
	page = 500
)

// objects deletes the AzureAssignedIdentities, and reports whether it has seen all,
// and none stays that was to go: no identity is to go of which an object says that
// it is there.
func (r *run) objects(ctx context.Context) bool {
	var deleted, stay, theirs atomic.Int64
	var list v1.AzureAssignedIdentityList
	for next := ""; ; {
		list = v1.AzureAssignedIdentityList{}
		if err := r.api.List(ctx, &list, client.Limit(page), client.Continue(next)); err != nil {
			r.leave("AzureAssignedIdentities, and with them what is attached to machines", err)
			return false
		}
		var g errgroup.Group
		g.SetLimit(parallel)
		for i := range list.Items {
			o := &list.Items[i]
			if slices.Contains(o.Finalizers, assign.LegacyFinalizer) && !r.config.Legacy {
				theirs.Add(1)
				continue
			}
			if r.keep[o.UID] || r.keepLegacy && slices.Contains(o.Finalizers, assign.LegacyFinalizer) {
				stay.Add(1) // and why has been said
				continue
			}
			g.Go(func() error {
				gone, err := r.delete(ctx, o)
				if err != nil {
					r.leave(fmt.Sprintf("AzureAssignedIdentity %s/%s", o.Namespace, o.Name), err)
				} else {
					deleted.Add(1)
				}
				if !gone {
					stay.Add(1)
				}
				return nil
			})
		}
		_ = g.Wait() // each has told
		if next = list.Continue; next == "" {
			break
		}
	}
	r.say("deleted %d AzureAssignedIdentities", deleted.Load())
	if n := theirs.Load(); n > 0 {
		r.say("%d AzureAssignedIdentities are of AAD Pod Identity, and stay: --legacy deletes them", n)
	}
	if n := stay.Load(); n > 0 {
		r.leave("what is attached to machines", fmt.Errorf("%d AzureAssignedIdentities stay, and may say that it is there", n))
	}
	return stay.Load() == 0
}

// delete deletes one object, without the finalizer that nobody would take off it.
// One that waits for others counts as gone: it is no longer there for anybody.
func (r *run) delete(ctx context.Context, o *v1.AzureAssignedIdentity) (gone bool, err error) {
	if slices.Contains(o.Finalizers, assign.LegacyFinalizer) {
		o.Finalizers = slices.DeleteFunc(o.Finalizers, func(f string) bool { return f == assign.LegacyFinalizer })
		patch, err := json.Marshal(map[string]any{
			// Only on what was read: others may have finalizers of their own.
			"metadata": map[string]any{"resourceVersion": o.ResourceVersion, "finalizers": o.Finalizers},
		})
		if err != nil {
			return false, err
		}
		bare := &v1.AzureAssignedIdentity{}
		bare.Namespace, bare.Name = o.Namespace, o.Name
		if err := r.api.Patch(ctx, bare, client.RawPatch(types.MergePatchType, patch)); err != nil {
			return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
		}
	}
	if err := r.api.Delete(ctx, o, client.Preconditions{UID: &o.UID}); err != nil {
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	}
	if len(o.Finalizers) > 0 {
		return true, fmt.Errorf("it is deleted, and waits for others to take off their finalizers %q", o.Finalizers)
	}
	return true, nil
}

// taints takes the start-up taints off all nodes: nobody would any more.
func (r *run) taints(ctx context.Context) {
	if len(r.config.StartupTaints) == 0 {
		return
	}
	typed, err := corev1client.NewForConfig(r.config.REST)
	if err != nil {
		r.leave("start-up taints", err)
		return
	}
	var nodes corev1.NodeList
	if err := r.api.List(ctx, &nodes); err != nil {
		r.leave("start-up taints", err)
		return
	}
	for i := range nodes.Items {
		n := &nodes.Items[i]
		if !taint.Has(n.Spec.Taints, r.config.StartupTaints) {
			continue
		}
		if err := removeTaints(ctx, typed.Nodes(), n.Name, r.config.StartupTaints); err != nil {
			r.leave("node "+n.Name, err)
			continue
		}
		r.say("node %s: took the start-up taint off", n.Name)
	}
	r.say("nodes to come have the start-up taint as long as their pool says so: take it out of the pool")
}

// removeTaints tries again while others change the node.
func removeTaints(ctx context.Context, nodes taint.Nodes, name string, keys []string) error {
	const tries = 5
	var err error
	for range tries {
		if _, err = taint.Remove(ctx, nodes, name, keys); !apierrors.IsInvalid(err) {
			return err
		}
	}
	return err
}
