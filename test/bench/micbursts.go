package main

import (
	"context"
	"fmt"
	"time"
)

// operation is how long Azure takes for a change, as it does: a minute or less.
const operation = 40 * time.Second

// patches has 200 pods with 20 identities come on ten nodes of one scale set, and
// counts what mic asks of Azure until all are Assigned.
func patches(ctx context.Context, r *rig, out *report) error {
	return onField(ctx, r, plan{operation: armDelay, sets: 1, nodes: 10, identities: 20}, func(f *field) error {
		b, err := f.burst(ctx, 200)
		if err != nil {
			return err
		}
		out.add("patches_200_pods", float64(b.patches), atMost(3))
		out.add("patches_200_pods_created_s", b.created.Seconds(), atMost(2))
		out.add("patches_200_pods_assigned_s", b.assigned.Seconds(), goal{})
		return nil
	})
}

// burst200 is the same with an operation as long as Azure's.
func burst200(ctx context.Context, r *rig, out *report) error {
	return onField(ctx, r, plan{operation: operation, sets: 1, nodes: 10, identities: 20}, func(f *field) error {
		b, err := f.burst(ctx, 200)
		if err != nil {
			return err
		}
		out.add("mic_200_assigned_s", b.assigned.Seconds(), atMost(45))
		out.add("mic_200_patches", float64(b.patches), exactly(1))
		return nil
	})
}

// burst2000 has 2,000 pods with 100 identities come on 30 nodes of three scale sets.
func burst2000(ctx context.Context, r *rig, out *report) error {
	return onField(ctx, r, plan{operation: operation, sets: 3, nodes: 30, identities: 100}, func(f *field) error {
		b, err := f.burst(ctx, 2000)
		if err != nil {
			return err
		}
		out.add("mic_2000_created_s", b.created.Seconds(), goal{})
		out.add("mic_2000_assigned_s", b.assigned.Seconds(), atMost(60))
		out.add("mic_patches_per_vmss", float64(b.most), atMost(3))
		return nil
	})
}

// burst is what became of pods that came at once.
type burst struct {
	created, assigned time.Duration // since before the first, until all were
	patches, most     int           // in all, and of one scale set
}

// burst starts mic, and has pods come.
func (f *field) burst(ctx context.Context, n int) (burst, error) {
	if _, err := f.lead(ctx); err != nil {
		return burst{}, err
	}
	seen, err := f.watchAssigned(ctx)
	if err != nil {
		return burst{}, err
	}
	defer seen.stop()
	start := time.Now()
	names, err := f.addPods(ctx, n)
	if err != nil {
		return burst{}, err
	}
	b := burst{created: time.Since(start)}
	last, err := seen.await(ctx, 5*time.Minute, names...)
	if err != nil {
		return burst{}, err
	}
	b.assigned = last.Sub(start)
	by, total, err := f.patches(ctx)
	b.patches = total
	for _, n := range by {
		b.most = max(b.most, n)
	}
	return b, err
}

// Of the measurement with an identity that Azure does not have.
const (
	badTime  = 5 * time.Minute
	badEvery = 10 * time.Second // another pod comes
)

// bad has pods come with 20 identities, of which Azure does not have one. Another
// comes every ten seconds for five minutes.
func bad(ctx context.Context, r *rig, out *report) error {
	return onField(ctx, r, plan{operation: operation, sets: 1, nodes: 10, identities: 20, missing: 1}, func(f *field) error {
		if _, err := f.lead(ctx); err != nil {
			return err
		}
		seen, err := f.watchAssigned(ctx)
		if err != nil {
			return err
		}
		defer seen.stop()
		start := time.Now()
		names, err := f.addPods(ctx, 40)
		if err != nil {
			return err
		}
		var good []string
		for i, name := range names {
			if i%f.identities != f.identities-1 {
				good = append(good, name)
			}
		}
		tick := time.NewTicker(badEvery)
		defer tick.Stop()
		for i := 0; time.Since(start) < badTime; i++ {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := f.bind(ctx, fmt.Sprint("later-", i), i%f.nodes, i%(f.identities-1)); err != nil {
				return err
			}
		}
		last, err := seen.await(ctx, time.Second, good...)
		if err != nil {
			return err
		}
		_, total, err := f.patches(ctx)
		if err != nil {
			return err
		}
		out.add("mic_bad1of20_s", last.Sub(start).Seconds(), atMost(60))
		out.add("mic_bad1of20_patches", float64(total), atMost(6))
		return nil
	})
}
