package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
)

// Of the large cluster.
const (
	largePods     = 10_000
	largeEvents   = 1_000 // of each kind that changes nothing
	largeBinds    = 300
	afterRestart  = 30 * time.Second
	beforeMeasure = 10 * time.Second
)

// large is a cluster with 10,000 pods and 1,000 bindings on 100 nodes of three
// scale sets: what it takes mic to have everything Assigned, what events cost it,
// and what it does when it starts again.
func large(ctx context.Context, r *rig, out *report) error {
	return onField(ctx, r, plan{operation: operation, sets: 3, nodes: 100, identities: 1000}, func(f *field) error {
		names, err := f.addPods(ctx, largePods)
		if err != nil {
			return err
		}
		c, err := f.cold(ctx, names, out)
		if err != nil {
			return err
		}
		if err := f.events(ctx, c, out); err != nil {
			return err
		}
		f.rig.end(c.cmd)
		return f.restart(ctx, out)
	})
}

// cold starts mic on pods of which none has anything yet.
func (f *field) cold(ctx context.Context, pods []string, out *report) (*controller, error) {
	seen, err := f.watchAssigned(ctx)
	if err != nil {
		return nil, err
	}
	defer seen.stop()
	before, err := f.writes(ctx)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	c, err := f.startMIC(ctx)
	if err != nil {
		return nil, err
	}
	last, err := seen.await(ctx, 10*time.Minute, pods...)
	if err != nil {
		return nil, err
	}
	arm, err1 := f.took(ctx)
	if _, err := awaitQuiet(ctx, c, 2*time.Minute); err != nil {
		return nil, err
	}
	after, err2 := f.writes(ctx)
	_, total, err3 := f.patches(ctx)
	used, err4 := cpu(c.cmd.Process.Pid)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	out.add("mic_10k_cold_s", last.Sub(start).Seconds(), goal{})
	out.add("mic_10k_cold_over_arm_s", (last.Sub(start) - arm).Seconds(), atMost(50))
	out.add("mic_10k_cold_writes", float64(after-before), goal{})
	out.add("mic_10k_cold_patches", float64(total), goal{})
	out.add("mic_10k_cold_cpu_s", used.Seconds(), goal{})
	return c, resident(ctx, c, "mic_cold_rss_mib", goal{}, out)
}

// resident adds what mic occupies when it has had nothing to do for a while, and
// at most so far.
func resident(ctx context.Context, c *controller, name string, g goal, out *report) error {
	select {
	case <-time.After(beforeMeasure):
	case <-ctx.Done():
		return ctx.Err()
	}
	now, err1 := residentMiB(c.cmd.Process.Pid)
	most, err2 := status(c.cmd.Process.Pid, "VmHWM")
	out.add(name, now, g)
	out.add(name+"_most", most, goal{})
	return errors.Join(err1, err2)
}

// events has things happen that change nothing, and pods come whose identity is
// there. The goal is for what happens all the time in a cluster, to pods. That an
// object of podid is touched without need is rare, and its JSON alone costs more.
func (f *field) events(ctx context.Context, c *controller, out *report) error {
	most := 0.0
	for _, kind := range []struct {
		name  string
		often bool // what a cluster is full of
		once  func(i int) error
	}{
		{"pod", true, func(i int) error { // a condition, as the kubelet writes them
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprint("pod-", i)}}
			return f.client.Status().Patch(ctx, p, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"status":{"message":"%d"}}`, i)))
		}},
		{"other", true, func(i int) error { // a pod that asks for nothing
			p := newPod(nodeOf(i%f.nodes), i, 0)
			p.Labels = nil
			return f.client.Create(ctx, p)
		}},
		{"object", false, func(i int) error { // an object is touched
			o := &v1.AzureAssignedIdentity{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("pod-%d-%s-id-%d", i, namespace, i%f.identities)}}
			return f.client.Patch(ctx, o, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{"bench":"%d"}}}`, i)))
		}},
		{"binding", false, func(i int) error { // as is a binding
			o := &v1.AzureIdentityBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("id-%d", i)}}
			return f.client.Patch(ctx, o, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{"bench":"%d"}}}`, i)))
		}},
	} {
		used, err := spent(ctx, c, func() error { return parallel(largeEvents, kind.once) })
		if err != nil {
			return err
		}
		each := milliseconds(used) / largeEvents
		out.add("mic_event_noop_"+kind.name+"_cpu_ms", each, goal{})
		if kind.often {
			most = max(most, each)
		}
	}
	out.add("mic_event_noop_cpu_ms", most, atMost(0.2))
	used, err := f.binds(ctx, c)
	if err != nil {
		return err
	}
	out.add("mic_event_bind_cpu_ms", milliseconds(used)/largeBinds, atMost(5))
	return nil
}

// binds has pods come, one after the other was Assigned.
func (f *field) binds(ctx context.Context, c *controller) (time.Duration, error) {
	seen, err := f.watchAssigned(ctx)
	if err != nil {
		return 0, err
	}
	defer seen.stop()
	return spent(ctx, c, func() error {
		for i := range largeBinds {
			name := fmt.Sprint("bound-", i)
			if err := f.bind(ctx, name, i%f.nodes, i%f.nodes); err != nil {
				return err
			}
			if _, err := seen.await(ctx, time.Minute, name); err != nil {
				return err
			}
		}
		return nil
	})
}

// restart starts mic where everything is as it should be.
func (f *field) restart(ctx context.Context, out *report) error {
	if err := f.azure.ResetCounters(ctx); err != nil {
		return err
	}
	before, err := f.writes(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	c, err := f.lead(ctx)
	if err != nil {
		return err
	}
	steady, err := awaitQuiet(ctx, c, time.Minute)
	if err != nil {
		return err
	}
	select {
	case <-time.After(afterRestart):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err1 := f.writes(ctx)
	_, total, err2 := f.patches(ctx)
	missed, err3 := metric(ctx, c.metrics, "podid_mic_missed_total")
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	out.add("mic_10k_restart_s", steady.Sub(start).Seconds(), atMost(15))
	out.add("mic_10k_restart_writes", float64(after-before), exactly(0))
	out.add("mic_10k_restart_patches", float64(total), exactly(0))
	out.add("mic_10k_missed", missed, exactly(0))
	return resident(ctx, c, "mic_rss_mib", atMost(150), out)
}
