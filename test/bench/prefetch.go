package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	v1 "github.com/podid-io/podid/api/v1"
)

const (
	prefetchBatches = 10
	prefetchPods    = 100 // of a batch
)

// prefetched measures the first request of pods that name, in their annotation,
// a resource that nobody on the node had a token of. The pods are bound to the
// node, without an address and Pending, when the tokens come; then each is told
// to run and asks at once, when the API server has taken that in and nmi may not
// have heard of it yet. The time is from the start of the connection to the end
// of the answer.
func prefetched(ctx context.Context, r *rig, out *report) error {
	const node, number = "prefetch", 5
	resource := func(batch int) string { return fmt.Sprintf("https://prefetch-%d.example", batch) }
	a, err := r.startAgent(ctx, node)
	if err != nil {
		return err
	}
	defer r.end(a.cmd)
	c := pods{node: node, number: number, edit: func(p *corev1.Pod, i int) {
		p.Annotations = map[string]string{v1.AnnotationPrefetch: resource(i / prefetchPods)}
	}}
	var took []time.Duration
	for batch := range prefetchBatches {
		first, err := prefetchBatch(ctx, r, a, c, batch, resource(batch))
		if err != nil {
			return err
		}
		took = append(took, first...)
	}
	hits, err := metric(ctx, a.metrics, `podid_token_request_duration_seconds_count{door="pod",outcome="hit"}`)
	if err != nil {
		return err
	}
	if hits != prefetchBatches*prefetchPods {
		return fmt.Errorf("%g of %d first requests were served from memory", hits, prefetchBatches*prefetchPods)
	}
	p50, err1 := latency(took, 50)
	p99, err2 := latency(took, 99)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	out.add("prefetch_p50_ms", p50, goal{})
	out.add("prefetch_p99_ms", p99, atMost(5))
	return nil
}

// prefetchBatch binds a hundred pods to the node, and returns how long each waited
// for the answer to its first request.
func prefetchBatch(ctx context.Context, r *rig, a *agent, c pods, batch int, resource string) ([]time.Duration, error) {
	from := batch * prefetchPods
	pending := make([]*corev1.Pod, prefetchPods)
	if err := r.create(ctx, c, from, from+prefetchPods, func(p *corev1.Pod, i int) error {
		pending[i-from] = p
		return nil
	}); err != nil {
		return nil, err
	}
	if err := a.awaitTokens(ctx, (batch+1)*identities); err != nil {
		return nil, err
	}
	took := make([]time.Duration, prefetchPods)
	for i, p := range pending {
		if err := r.starts(ctx, c, p, from+i); err != nil {
			return nil, err
		}
		start := time.Now()
		if err := askOnce(ctx, a, podIP(c.number, from+i), resource); err != nil {
			return nil, err
		}
		took[i] = time.Since(start)
	}
	return took, nil
}

// awaitTokens waits until so many tokens have come from Azure.
func (a *agent) awaitTokens(ctx context.Context, n int) error {
	return await(ctx, time.Minute, func() error {
		issued, err := metric(ctx, a.metrics, `podid_upstream_requests_total{outcome="issued"}`)
		if err == nil && int(issued) < n {
			err = fmt.Errorf("%g of %d tokens have come", issued, n)
		}
		return err
	})
}
