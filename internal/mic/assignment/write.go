package assignment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
)

// Bounds of the writes of one look at a scope.
const (
	// turn is how long it may go on before the scope is looked at again: there may
	// be something new that is more urgent than the rest.
	turn = time.Second
	// retryHeld is when to try again to write an object whose name is held by one
	// that is being deleted. Its end is an event, if not always one that says so.
	retryHeld = time.Minute
	// retryChanged is when to try again to write an object that has changed. What
	// changed is an event, but may be nothing that counts.
	retryChanged = 250 * time.Millisecond
)

// write brings the objects of a scope to what the plan says, some at once, and
// first those that somebody can use then. All are tried that are begun by until,
// if that is a time, or within turn; the rest is left for the next look, as is
// what failed. The error joins what failed. That an object has changed meanwhile
// is no failure: the change is an event, and there will be another plan. Nor is a
// namespace that is being deleted.
func (r *Reconciler) write(ctx context.Context, scope assign.Scope, s *state, plan assign.Plan, until time.Time) later {
	w := writer{r: r, s: s, until: time.Now().Add(turn), again: make(owners)}
	if !until.IsZero() && until.Before(w.until) {
		w.until = until
	}
	w.group.SetLimit(parallelWrites)
	var usable, rest []func() // sorted before the first begins: an answer is read into its object
	for _, l := range []struct {
		objects []*v1.AzureAssignedIdentity
		do      write
		first   func(context.Context, *v1.AzureAssignedIdentity) bool // that the pod has it
	}{{plan.Mark, r.mark, always}, {plan.Create, r.create, always}, {plan.Update, r.replace, r.ofAnother}} {
		for _, o := range l.objects {
			first := l.first(ctx, o)
			begin := func() { w.begin(ctx, o, l.do, func(o *v1.AzureAssignedIdentity) { w.wrote(ctx, o, first) }) }
			if o.Status.Status == v1.Assigned {
				usable = append(usable, begin)
			} else {
				rest = append(rest, begin)
			}
		}
	}
	for _, begin := range slices.Concat(usable, rest) {
		begin()
	}
	for _, o := range plan.Delete {
		w.begin(ctx, o, r.remove, func(o *v1.AzureAssignedIdentity) { s.unseen.deleted(o) })
	}
	_ = w.group.Wait() // errors are in errs
	r.touch(scope, w.again)
	return later{wait: w.wait, err: errors.Join(w.errs...)}
}

func always(context.Context, *v1.AzureAssignedIdentity) bool { return true }

// ofAnother reports whether the object that o replaces was for another pod.
func (r *Reconciler) ofAnother(ctx context.Context, o *v1.AzureAssignedIdentity) bool {
	var old v1.AzureAssignedIdentity
	err := r.config.Cache.Get(ctx, client.ObjectKeyFromObject(o), &old)
	return err == nil && old.Spec.PodUID != o.Spec.PodUID
}

// write is one way to write an object.
type write func(context.Context, *v1.AzureAssignedIdentity) error

// writer is a number of writes at once.
type writer struct {
	r     *Reconciler
	s     *state
	until time.Time
	group errgroup.Group

	mu    sync.Mutex // guards the rest, and s.unseen, s.reported and s.backlog
	again owners     // whose objects are not as they should be
	wait  time.Duration
	errs  []error
}

// begin starts a write once there is room for it, unless it is too late.
func (w *writer) begin(ctx context.Context, o *v1.AzureAssignedIdentity, do write, done func(*v1.AzureAssignedIdentity)) {
	owner := ownerOf(o)       // of what it is now: an answer is read into it
	w.group.Go(func() error { // ends with the request
		var err error
		late := time.Now().After(w.until)
		if !late {
			err = do(ctx, o)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		switch {
		case late:
			w.s.backlog[owner] = struct{}{}
			w.wait = time.Millisecond
		case err == nil:
			done(o)
		case apierrors.IsConflict(err):
			w.later(owner, retryChanged)
		case apierrors.IsNotFound(err):
			w.later(owner, patience)
		case errors.Is(err, errLater):
			w.later(owner, retryHeld)
		case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause): // its pods go too
		default:
			w.again[owner] = struct{}{}
			w.errs = append(w.errs, fmt.Errorf("AzureAssignedIdentity %s/%s: %w", o.Namespace, o.Name, err))
		}
		return nil
	})
}

// later has a pod looked at again, at the latest after wait.
func (w *writer) later(owner assign.Owner, wait time.Duration) {
	w.again[owner] = struct{}{}
	if w.wait == 0 || wait < w.wait {
		w.wait = wait
	}
}

func (w *writer) wrote(ctx context.Context, o *v1.AzureAssignedIdentity, first bool) {
	w.s.unseen.wrote(o)
	if o.Status.Status != v1.Assigned {
		return
	}
	w.r.reportAssigned(w.s, o)
	var p corev1.Pod
	if first && w.r.config.Cache.Get(ctx, podOf(o), &p) == nil {
		w.r.measure(o, &p)
	}
}

func (r *Reconciler) replace(ctx context.Context, o *v1.AzureAssignedIdentity) error {
	return r.config.Writer.Update(ctx, o)
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
	return r.config.Writer.Update(ctx, assign.Replacing(&now, o))
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
