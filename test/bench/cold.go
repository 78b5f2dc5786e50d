package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/podid-io/podid/internal/azemu"
)

const (
	coldPods     = 250 // of the node, all with one identity
	coldCallers  = 100
	coldRounds   = 10
	coldUpstream = 100 * time.Millisecond
)

// cold has 100 pods ask for one token that nobody has yet, at once, over new
// connections, ten times over.
//
// What a caller waited over the upstream is from before it connects until it has
// the whole answer, on its own clock, less how long the emulator had the one
// call, on the emulator's. So it includes the handshakes of a hundred connections
// that come at once, the kernel being asked where each is from, nmi's own way to
// the emulator and back, the audit, a hundred answers; and that the callers have
// to share the processors with all of it. Beside it stands how long the same
// callers wait for a bare server, which has its answer at once.
func cold(ctx context.Context, r *rig, out *report) error {
	const node, number = "cold", 1
	same := pods{node: node, number: number, identity: func(int) int { return 0 }}
	if err := r.add(ctx, same, 0, coldPods); err != nil {
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
	bare, err := r.bareBeside(ctx, a, podIP(number, 0))
	if err != nil {
		return err
	}
	defer r.end(bare.cmd)
	var over, beside []time.Duration
	most := 0
	for round := range coldRounds {
		calls, took, err := coldRound(ctx, r, a, number, fmt.Sprintf("https://cold-%d.example", round))
		if err != nil {
			return err
		}
		most = max(most, calls)
		over = append(over, took...)
		if took, err = askAtOnce(ctx, &agent{listen: bare.listen}, number, vault); err != nil {
			return err
		}
		beside = append(beside, took...)
	}
	p99, err1 := latency(over, 99)
	bare99, err2 := latency(beside, 99)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	out.add("cold100_bare_p99_ms", bare99, goal{})
	out.add("cold100_upstream_calls", float64(most), exactly(1))
	out.add("cold100_p99_over_upstream_ms", p99, atMost(5))
	out.add("cold100_max_over_upstream_ms", longest(over), goal{})
	return nil
}

// coldRound returns the calls that reached IMDS, and how much longer each caller
// waited than the call took.
func coldRound(ctx context.Context, r *rig, a *agent, number int, resource string) (calls int, over []time.Duration, err error) {
	if err := r.azure.ResetCounters(ctx); err != nil {
		return 0, nil, err
	}
	took, err := askAtOnce(ctx, a, number, resource)
	if err != nil {
		return 0, nil, err
	}
	upstream, err := r.upstream(ctx)
	if err != nil {
		return 0, nil, err
	}
	if len(upstream) == 0 {
		return 0, nil, errors.New("nothing was asked of the metadata service")
	}
	for _, t := range took {
		over = append(over, t-slices.Min(upstream))
	}
	return len(upstream), over, nil
}

// askAtOnce has all callers ask at once, and returns how long each waited.
func askAtOnce(ctx context.Context, a *agent, number int, resource string) ([]time.Duration, error) {
	took, errs := make([]time.Duration, coldCallers), make([]error, coldCallers)
	var g sync.WaitGroup
	begin := make(chan struct{})
	for i := range coldCallers {
		g.Go(func() {
			<-begin
			start := time.Now()
			errs[i] = askOnce(ctx, a, podIP(number, i), resource)
			took[i] = time.Since(start)
		})
	}
	close(begin)
	g.Wait()
	return took, errors.Join(errs...)
}

// bareBeside starts a bare server that returns what an agent answers a pod.
func (r *rig) bareBeside(ctx context.Context, a *agent, from string) (*bareServer, error) {
	file, err := r.save(ctx, a.listen, from)
	if err != nil {
		return nil, err
	}
	return r.startBare(ctx, file)
}

// upstream is how long each call for a token took at the emulator, since its
// counters were reset.
func (r *rig) upstream(ctx context.Context) ([]time.Duration, error) {
	events, err := r.azure.Events(ctx)
	var took []time.Duration
	for _, e := range events {
		if e.Endpoint == azemu.EndpointIMDSToken {
			took = append(took, time.Duration(e.Duration))
		}
	}
	return took, err
}
