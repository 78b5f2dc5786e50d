package assignment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
)

// write brings the objects of a scope to what the plan says, some at once. All
// are tried; the error joins what failed. That an object has changed meanwhile
// is no failure: the change is an event, and there will be another plan. Nor is
// a namespace that is being deleted.
func (r *Reconciler) write(ctx context.Context, s *state, plan assign.Plan) error {
	var (
		mu   sync.Mutex // guards errs and s.unseen
		errs []error
	)
	var g errgroup.Group
	g.SetLimit(parallelWrites)
	run := func(o *v1.AzureAssignedIdentity, do func(context.Context, *v1.AzureAssignedIdentity) error, done func(unseen)) {
		g.Go(func() error { // ends with the request
			err := do(ctx, o)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				done(s.unseen)
			case apierrors.IsConflict(err), apierrors.IsNotFound(err), errors.Is(err, errLater):
			case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause): // its pods go too
			default:
				errs = append(errs, fmt.Errorf("AzureAssignedIdentity %s/%s: %w", o.Namespace, o.Name, err))
			}
			return nil
		})
	}
	set := func(list []*v1.AzureAssignedIdentity, do func(context.Context, *v1.AzureAssignedIdentity) error) {
		for _, o := range list {
			run(o, do, func(u unseen) {
				u.wrote(o)
				if o.Status.Status == v1.Assigned {
					r.reportAssigned(s, o)
				}
			})
		}
	}
	set(plan.Mark, r.mark)
	set(plan.Create, r.create)
	set(plan.Update, func(ctx context.Context, o *v1.AzureAssignedIdentity) error { return r.config.Writer.Update(ctx, o) })
	for _, o := range plan.Delete {
		run(o, r.remove, func(u unseen) { u.deleted(o) })
	}
	_ = g.Wait() // errors are in errs
	return errors.Join(errs...)
}

// errLater says that an object could not be written yet, since the one that has
// its name is being deleted. Its end is an event.
var errLater = errors.New("the object that has the name is being deleted")

// create makes an object. One that has its name, and that the cache did not
// show, is replaced.
func (r *Reconciler) create(ctx context.Context, o *v1.AzureAssignedIdentity) error {
	err := r.config.Writer.Create(ctx, o)
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	var now v1.AzureAssignedIdentity
	if err := r.config.Live.Get(ctx, client.ObjectKeyFromObject(o), &now); err != nil {
		return err
	}
	if now.DeletionTimestamp != nil {
		return errors.Join(r.remove(ctx, &now), errLater)
	}
	o.ResourceVersion = now.ResourceVersion
	return r.config.Writer.Update(ctx, o)
}

// mark changes the state of an object, unless it has changed otherwise.
func (r *Reconciler) mark(ctx context.Context, o *v1.AzureAssignedIdentity) error {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": o.ResourceVersion},
		"status":   map[string]any{"status": o.Status.Status},
	})
	if err != nil {
		return err
	}
	return r.config.Writer.Patch(ctx, o, client.RawPatch(types.MergePatchType, patch))
}

// remove deletes an object as it was seen. The finalizer of AAD Pod Identity
// goes first: nobody is left who would take it off.
func (r *Reconciler) remove(ctx context.Context, o *v1.AzureAssignedIdentity) error {
	version := o.ResourceVersion
	if slices.Contains(o.Finalizers, assign.LegacyFinalizer) {
		rest := slices.DeleteFunc(slices.Clone(o.Finalizers), func(f string) bool { return f == assign.LegacyFinalizer })
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": version, "finalizers": rest}})
		if err != nil {
			return err
		}
		freed := &v1.AzureAssignedIdentity{ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name}}
		if err := r.config.Writer.Patch(ctx, freed, client.RawPatch(types.MergePatchType, patch)); err != nil {
			return err
		}
		version = freed.ResourceVersion
	}
	if o.DeletionTimestamp != nil {
		return nil // on its way already
	}
	return r.config.Writer.Delete(ctx, o, client.Preconditions{UID: &o.UID, ResourceVersion: &version})
}
