package assignment

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/compute"
)

// Released is what became of one VM or scale set.
type Released struct {
	Scope assign.Scope
	// Detached are identities that were taken off, by ARM id in lower case, and
	// Kept those that stay since they are not podid's, or never taken off.
	Detached, Kept []string
	// Left are identities that are podid's and may still be there, and Err says why.
	// Their record stays.
	Left []string
	Err  error
	// Gone says that the VM or scale set is not there any more.
	Gone bool
	// Record is a ConfigMap that should be a record and makes no sense, so that it is
	// not known of which scope it is; Err says why. It stays.
	Record string
}

// Release takes off every VM and scale set what the records say podid attached,
// and deletes the records of those where nothing is left. What is in the way, such
// as another operation, is waited for until ctx ends. each is told of every scope
// that has a record, one at a time. Of c it uses Live, Writer, Machines,
// Namespace, Immutable and Log. Nobody else may work meanwhile: hold the Lease.
func Release(ctx context.Context, c Config, each func(Released)) error {
	r := newReconciler(c)
	found, senseless, err := r.records.load(ctx)
	if err != nil {
		return err
	}
	for name, err := range senseless {
		each(Released{Record: "ConfigMap " + name, Err: err})
	}
	results := make(chan Released)
	var g errgroup.Group
	g.SetLimit(parallelScopes)
	go func() { // ends with ctx, since each release does
		for scope, k := range found {
			g.Go(func() error {
				results <- r.release(ctx, scope, k)
				return nil
			})
		}
	}()
	for range found {
		each(<-results)
	}
	return g.Wait()
}

// Forget deletes the records, and leaves on the VMs and scale sets what they say
// that podid attached: it is nobody's from then on, and Kept of what each is told.
// Of c it uses what Release does, without Machines.
func Forget(ctx context.Context, c Config, each func(Released)) error {
	r := newReconciler(c)
	found, senseless, err := r.records.load(ctx)
	if err != nil {
		return err
	}
	for name, err := range senseless {
		each(Released{Record: "ConfigMap " + name, Err: err})
	}
	for scope, k := range found {
		o := r.saved(ctx, scope, outcome{kept: k}, assign.Record{})
		each(Released{Scope: scope, Kept: k.record.Ours(), Err: o.err})
	}
	return nil
}

// release takes off one scope what is podid's, all at once, or one by one where
// Azure refuses one.
func (r *Reconciler) release(ctx context.Context, scope assign.Scope, k kept) Released {
	o := outcome{record: maps.Clone(k.record), made: k.made, kept: k}
	before := o.record.Ours()
	end := func(err error) Released {
		left := o.record.Ours()
		out := Released{Scope: scope, Left: left, Err: err, Kept: slices.Sorted(maps.Keys(o.record.Without(left)))}
		for _, id := range before {
			if _, still := o.record[id]; !still {
				out.Detached = append(out.Detached, id)
			}
		}
		return out
	}
	for failures := 0; ; failures++ {
		o = r.releaseNow(ctx, scope, o)
		if alone, err := r.alone(ctx, scope, o.err, r.nodesNow); err == nil && alone && gone(o.err) {
			o = r.saved(ctx, scope, outcome{kept: o.kept}, assign.Record{})
			out := end(o.err)
			out.Detached, out.Gone = nil, true
			return out
		}
		if o.err == nil {
			forgotten := r.saved(ctx, scope, outcome{kept: o.kept}, assign.Record{})
			out := end(forgotten.err)
			if k.made != "" && k.made != o.made { // another machine has its name
				out.Detached, out.Gone = nil, true
			}
			return out
		}
		if !passes(o.err) {
			return end(o.err)
		}
		select {
		case <-ctx.Done():
			return end(fmt.Errorf("no time left: %w", o.err))
		case <-time.After(backOff(r.config.Retry, failures, o.err, mostRetry)):
		}
	}
}

// releaseNow tries once.
func (r *Reconciler) releaseNow(ctx context.Context, scope assign.Scope, o outcome) outcome {
	ids := o.record.Ours()
	o.err = nil
	if len(ids) == 0 {
		return o
	}
	o = r.releaseSome(ctx, scope, o, ids)
	if e, ok := errors.AsType[*compute.Error](o.err); !ok || e.Kind != compute.BadIdentity || len(ids) == 1 {
		return o
	}
	var errs []error
	for _, id := range o.record.Ours() { // its neighbours are not to wait for it
		o = r.releaseSome(ctx, scope, outcome{record: o.record, made: o.made, kept: o.kept}, []string{id})
		errs = append(errs, o.err)
	}
	o.err = errors.Join(errs...)
	return o
}

// releaseSome takes off some. What may be one that is never taken off stays, and is
// nobody's from then on.
func (r *Reconciler) releaseSome(ctx context.Context, scope assign.Scope, o outcome, ids []string) outcome {
	o = r.patch(ctx, scope, o, nil, ids)
	o.record = maps.Clone(o.record)
	for _, id := range o.withheld {
		o.record[id] = assign.Found
	}
	return o
}

// passes reports whether what failed, or some of it, may go well later without
// anybody's doing.
func passes(err error) bool {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		return slices.ContainsFunc(several.Unwrap(), passes)
	}
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		return false
	}
	e, ok := errors.AsType[*compute.Error](err)
	if !ok {
		return true
	}
	switch e.Kind {
	case compute.Forbidden, compute.NotFound, compute.BadIdentity, compute.Unsupported:
		return false
	default:
		return true
	}
}

// nodesNow counts the nodes of a scope, without a cache.
func (r *Reconciler) nodesNow(ctx context.Context, scope assign.Scope) (int, error) {
	var nodes corev1.NodeList
	if err := r.config.Live.List(ctx, &nodes); err != nil {
		return 0, err
	}
	n := 0
	for i := range nodes.Items {
		if scopeOf(&nodes.Items[i]) == scope {
			n++
		}
	}
	return n, nil
}
