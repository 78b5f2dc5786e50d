package status

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/cli/cluster"
)

// pause is the least time between two shows: changes come in crowds, and the Lease
// is renewed every two seconds.
const pause = time.Second

// again is the time until a watch that ended is begun anew.
const again = 2 * time.Second

// follow shows it now, and again whenever something of it has changed, until ctx
// ends or it cannot be shown.
func follow(ctx context.Context, c *cluster.Cluster, show func(context.Context) error) error {
	w, err := client.NewWithWatch(c.WatchConfig(), client.Options{Scheme: c.Scheme()})
	if err != nil {
		return fmt.Errorf("watch the cluster: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	changed := make(chan struct{}, 1)
	system := client.InNamespace(c.System)
	controllers, err := c.Components(ctx, cluster.Controller, "")
	if err != nil {
		return err
	}
	lease := c.ControllerFlagsOf(controllers).Lease
	for _, x := range []struct {
		list    client.ObjectList
		options []client.ListOption
	}{
		{&corev1.PodList{}, []client.ListOption{system, client.MatchingLabels{cluster.NameLabel: cluster.Name}}},
		{&coordinationv1.LeaseList{}, []client.ListOption{client.InNamespace(lease.Namespace), client.MatchingFields{"metadata.name": lease.Name}}},
		{&v1.AzureIdentityList{}, nil},
		{&v1.AzureAssignedIdentityList{}, nil},
	} {
		g.Go(func() error { // ends with ctx
			return watchOne(ctx, w, x.list, x.options, changed)
		})
	}
	g.Go(func() error { // ends with ctx, or with the first failure to show
		for {
			if err := show(ctx); err != nil {
				return err
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return ctx.Err()
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	return g.Wait()
}

// watchOne tells of each change of a kind. What may not be watched is shown as it is
// when something else changes.
func watchOne(ctx context.Context, w client.WithWatch, list client.ObjectList, options []client.ListOption, changed chan<- struct{}) error {
	for {
		if events, err := w.Watch(ctx, list, options...); err == nil {
			for range events.ResultChan() {
				select {
				case changed <- struct{}{}:
				default: // it is told already
				}
			}
			events.Stop()
		}
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
