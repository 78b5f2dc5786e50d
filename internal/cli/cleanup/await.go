package cleanup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// lastWords is how long it may take to find out why the time was not enough.
const lastWords = 10 * time.Second

// podsOf selects the pods of a workload.
func podsOf(selector *metav1.LabelSelector) []client.ListOption {
	return []client.ListOption{client.MatchingLabels(selector.MatchLabels)}
}

// await watches objects of a kind until all that there are satisfy done. A watch
// begins with a list; one that ends begins anew, and so does one that fails, after
// a moment: an API server that restarts is no reason to leave everything half done.
func (w *work) await(ctx context.Context, list client.ObjectList, options []client.ListOption, done func(map[string]client.Object) bool) error {
	options = append(slices.Clone(options), client.InNamespace(w.namespace))
	for {
		ended, err := w.look(ctx, list, options, done)
		if err == nil && ended {
			continue
		}
		if err == nil || ctx.Err() != nil || final(err) {
			return timeIsUp(ctx, err)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return fmt.Errorf("%w; before that: %w", timeIsUp(ctx, ctx.Err()), err)
		}
	}
}

// look is one list and the watch after it. It returns ended when there is to be
// another one.
func (w *work) look(ctx context.Context, list client.ObjectList, options []client.ListOption, done func(map[string]client.Object) bool) (ended bool, err error) {
	if err := w.client.List(ctx, list, options...); err != nil {
		return false, err
	}
	there, err := byName(list)
	if err != nil || done(there) {
		return false, err
	}
	from := slices.Concat(options, []client.ListOption{&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.GetResourceVersion()}}})
	return w.follow(ctx, list, from, there, done)
}

// final tells whether the API server would say the same again.
func final(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsNotFound(err) ||
		apierrors.IsBadRequest(err) || apierrors.IsInvalid(err) || apierrors.IsMethodNotSupported(err)
}

// timeIsUp is an error of a call, or the reason for it.
func timeIsUp(ctx context.Context, err error) error {
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errors.New("the time is up (--timeout)")
	}
	return err
}

// follow watches from a list on. It returns ended when the API server ends the
// watch, as it does from time to time.
func (w *work) follow(ctx context.Context, list client.ObjectList, from []client.ListOption, there map[string]client.Object, done func(map[string]client.Object) bool) (ended bool, err error) {
	events, err := w.client.Watch(ctx, list, from...)
	if err != nil {
		return false, err
	}
	defer events.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case event, open := <-events.ResultChan():
			if !open || event.Type == watch.Error {
				return ctx.Err() == nil, ctx.Err()
			}
			o, ok := event.Object.(client.Object)
			if !ok {
				return false, fmt.Errorf("the API server sent a %T", event.Object)
			}
			there[o.GetName()] = o
			if event.Type == watch.Deleted {
				delete(there, o.GetName())
			}
			if done(there) {
				return false, nil
			}
		}
	}
}

// byName are the objects of a list.
func byName(list client.ObjectList) (map[string]client.Object, error) {
	there := map[string]client.Object{}
	err := meta.EachListItem(list, func(item runtime.Object) error {
		o, ok := item.(client.Object)
		if !ok {
			return fmt.Errorf("a list of %T", item)
		}
		there[o.GetName()] = o
		return nil
	})
	return there, err
}
