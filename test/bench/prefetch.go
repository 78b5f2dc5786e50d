package main

import (
	"context"
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
// a resource that nobody on the node had a token of: from the start of the
// connection to the end of the answer.
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
		from := batch * prefetchPods
		if err := r.add(ctx, c, from, from+prefetchPods); err != nil {
			return err
		}
		if err := a.awaitTokens(ctx, (batch+1)*identities); err != nil {
			return err
		}
		for i := from; i < from+prefetchPods; i++ {
			start := time.Now()
			if err := askOnce(ctx, a, podIP(number, i), resource(batch)); err != nil {
				return err
			}
			took = append(took, time.Since(start))
		}
	}
	hits, err := metric(ctx, a.metrics, `podid_token_request_duration_seconds_count{door="pod",outcome="hit"}`)
	if err != nil || hits != prefetchBatches*prefetchPods {
		return fmt.Errorf("%g of %d first requests were served from memory: %w", hits, prefetchBatches*prefetchPods, err)
	}
	out.add("prefetch_p50_ms", milliseconds(percentile(took, 0.5)), "")
	out.add("prefetch_p99_ms", milliseconds(percentile(took, 0.99)), "<= 5")
	return nil
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
