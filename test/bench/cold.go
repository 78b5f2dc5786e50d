package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/podid-io/podid/internal/azemu"
)

const (
	coldCallers  = 100
	coldRounds   = 10
	coldUpstream = 100 * time.Millisecond
)

// cold has 100 pods ask for one token that nobody has yet, at once, over new
// connections, ten times over.
func cold(ctx context.Context, r *rig, out *report) error {
	const node, number = "cold", 1
	// Every twentieth pod has the same identity: make as many as that takes.
	if err := r.addPods(ctx, node, number, coldCallers*identities); err != nil {
		return err
	}
	a, err := r.startAgent(ctx, node)
	if err != nil {
		return err
	}
	defer r.end(a.cmd)
	if err := r.azure.SetFault(ctx, azemu.EndpointIMDSToken, azemu.Fault{Delay: azemu.Duration(coldUpstream)}); err != nil {
		return err
	}
	defer func() { _ = r.azure.ClearFault(context.WithoutCancel(ctx), azemu.EndpointIMDSToken) }() // the next measurement's calls are slower if this fails
	var over []time.Duration
	most := 0
	for round := range coldRounds {
		calls, took, err := coldRound(ctx, r, a, number, fmt.Sprintf("https://cold-%d.example", round))
		if err != nil {
			return err
		}
		most = max(most, calls)
		over = append(over, took...)
	}
	out.add("cold100_upstream_calls", float64(most), "<= 1")
	out.add("cold100_p99_over_upstream_ms", milliseconds(percentile(over, 0.99)), "<= 5")
	out.add("cold100_max_over_upstream_ms", milliseconds(percentile(over, 1)), "")
	return nil
}

// coldRound returns the calls that reached IMDS, and how long after the end of
// the call each caller had its answer.
func coldRound(ctx context.Context, r *rig, a *agent, number int, resource string) (calls int, over []time.Duration, err error) {
	if err := r.azure.ResetCounters(ctx); err != nil {
		return 0, nil, err
	}
	answered, errs := make([]time.Time, coldCallers), make([]error, coldCallers)
	var g sync.WaitGroup
	for i := range coldCallers {
		g.Go(func() {
			c, err := dial(ctx, podIP(number, i*identities), a.listen, request(resource))
			if err != nil {
				errs[i] = err
				return
			}
			defer func() { _ = c.Close() }()
			_, errs[i] = c.do(nil)
			answered[i] = time.Now()
		})
	}
	g.Wait()
	for _, err := range errs {
		if err != nil {
			return 0, nil, err
		}
	}
	events, err := r.azure.Events(ctx)
	if err != nil {
		return 0, nil, err
	}
	var done time.Time
	for _, e := range events {
		if e.Endpoint == azemu.EndpointIMDSToken {
			calls++
			done = e.Time.Add(time.Duration(e.Duration))
		}
	}
	for _, t := range answered {
		over = append(over, t.Sub(done))
	}
	return calls, over, nil
}
