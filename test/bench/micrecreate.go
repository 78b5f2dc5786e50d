package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Of a rolling update: at each step one pod more of each identity comes, and one
// of before goes. Two hundred pods are ten steps; so many updates are measured, for
// the sake of the percentile.
const (
	rollIdentities = 20
	rollSteps      = 10
	rollUpdates    = 5
	rollEvery      = 2 * time.Second
	rollLater      = time.Second // the old pod goes
)

// rolling replaces 200 pods, five times, and then recreates all pods of 20
// workloads that have one pod each.
func rolling(ctx context.Context, r *rig, out *report) error {
	return onField(ctx, r, plan{operation: operation, sets: 1, nodes: 10, identities: rollIdentities}, func(f *field) error {
		if _, err := f.lead(ctx); err != nil {
			return err
		}
		seen, err := f.watchAssigned(ctx)
		if err != nil {
			return err
		}
		defer seen.stop()
		old, err := f.addPods(ctx, rollIdentities*rollSteps)
		if err != nil {
			return err
		}
		if _, err := seen.await(ctx, 2*time.Minute, old...); err != nil {
			return err
		}
		if err := f.azure.ResetCounters(ctx); err != nil {
			return err
		}
		var took []time.Duration
		for range rollUpdates {
			if old, err = f.roll(ctx, seen, old, &took); err != nil {
				return err
			}
		}
		p50, err1 := latency(took, 50)
		p99, err2 := latency(took, 99)
		_, total, err3 := f.patches(ctx)
		if err := errors.Join(err1, err2, err3); err != nil {
			return err
		}
		out.add("mic_rolling200_p50_s", p50/1000, goal{})
		out.add("mic_rolling200_p99_s", p99/1000, atMost(0.5))
		out.add("mic_rolling200_patches", float64(total), exactly(0))
		return f.recreate(ctx, seen, old, out)
	})
}

// roll replaces pods, and returns those that are there now.
func (f *field) roll(ctx context.Context, seen *sightings, old []string, took *[]time.Duration) ([]string, error) {
	tick := time.NewTicker(rollEvery)
	defer tick.Stop()
	now := make([]string, len(old))
	for step := range rollSteps {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		from, to := step*rollIdentities, (step+1)*rollIdentities
		answered := make([]time.Time, rollIdentities)
		var mu sync.Mutex
		if err := parallel(rollIdentities, func(i int) error {
			now[from+i] = fmt.Sprintf("pod-%d-%d", len(*took)+i, i)
			err := f.bind(ctx, now[from+i], (from+i)%f.nodes, i)
			mu.Lock()
			defer mu.Unlock()
			answered[i] = time.Now()
			return err
		}); err != nil {
			return nil, err
		}
		select {
		case <-time.After(rollLater):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if err := parallel(rollIdentities, func(i int) error { return f.unbind(ctx, old[from+i]) }); err != nil {
			return nil, err
		}
		for i, name := range now[from:to] {
			at, err := seen.await(ctx, time.Minute, name)
			if err != nil {
				return nil, err
			}
			*took = append(*took, max(0, at.Sub(answered[i])))
		}
	}
	return now, nil
}

// recreate deletes all pods but one of each identity, then these too, and two
// seconds later has others come in their place.
func (f *field) recreate(ctx context.Context, seen *sightings, pods []string, out *report) error {
	if err := parallel(len(pods), func(i int) error { return f.unbind(ctx, pods[i]) }); err != nil {
		return err
	}
	select {
	case <-time.After(2 * time.Second):
	case <-ctx.Done():
		return ctx.Err()
	}
	names := make([]string, rollIdentities)
	start := time.Now()
	if err := parallel(len(names), func(i int) error {
		names[i] = fmt.Sprint("again-", i)
		return f.bind(ctx, names[i], i%f.nodes, i)
	}); err != nil {
		return err
	}
	last, err := seen.await(ctx, time.Minute, names...)
	if err != nil {
		return err
	}
	_, total, err := f.patches(ctx)
	if err != nil {
		return err
	}
	out.add("mic_recreated_assigned_s", last.Sub(start).Seconds(), goal{})
	out.add("mic_recreated_patches", float64(total), exactly(0))
	return nil
}

// unbind deletes a pod at once.
func (f *field) unbind(ctx context.Context, name string) error {
	return f.client.Delete(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}, client.GracePeriodSeconds(0))
}
