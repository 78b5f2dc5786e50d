package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/podid-io/podid/internal/azemu"
)

const (
	floodRounds = 5
	floodWarm   = 200                  // requests of a round for tokens that are there,
	floodGap    = 5 * time.Millisecond // one after the other, with this between two
	// floodCold and floodColdGap are those for tokens that are not: each at its
	// time, also when the one before has no answer yet. Ten a second are what the
	// limits of the metadata service leave room for, with the flood's own beside.
	floodCold    = 40
	floodColdGap = 100 * time.Millisecond
	floodOthers  = 20
	// floodSettles is until the metadata service has forgotten a flood: its limit
	// counts the last second, and a call for it may be under way.
	floodSettles = 1500 * time.Millisecond
)

// flooded has one pod flood nmi, for tokens that are there and for others that
// are not, and measures what the other pods of the node notice: each sample is a
// new connection and a request, for a token that is there or for one that nobody
// has yet. The metadata service takes 100 ms and enforces its limits. There are
// samples without the flood and with it by turns, five times over.
//
// Of tokens that nobody has yet it gives the 95th percentile: the limits of the
// metadata service allow no thousand of them in a reasonable time.
func flooded(ctx context.Context, r *rig, out *report) error {
	const node, number = "flood", 7
	if err := r.addPods(ctx, node, number, 1+floodOthers); err != nil {
		return err
	}
	azure, err := r.startLimited(ctx, "flood")
	if err != nil {
		return err
	}
	defer r.end(azure.cmd)
	a, err := r.startAgent(ctx, node, "--imds-endpoint", azure.imds) // the last one given counts
	if err != nil {
		return err
	}
	defer r.end(a.cmd)
	o := others{agent: a, number: number}
	for i := range floodOthers { // every token is there
		if err := askOnce(ctx, a, o.address(i), vault); err != nil {
			return err
		}
	}
	var idle, busy noticed
	for range floodRounds {
		if err := a.settles(ctx); err != nil {
			return err
		}
		o.ask(ctx, &idle)
		stop, err := a.startFlood(ctx, podIP(number, 0))
		if err != nil {
			return err
		}
		o.ask(ctx, &busy)
		stop()
	}
	if o.last != nil {
		fmt.Fprintln(os.Stderr, "flood: another pod was refused:", o.last)
	}
	counters, err := azure.azure.Counters(ctx)
	if err != nil {
		return err
	}
	refused, err := a.refused(ctx)
	if err != nil {
		return err
	}
	out.add("flood_refused", refused, goal{})
	out.add("flood_upstream_429", float64(counters[azemu.EndpointIMDSToken].Status[http.StatusTooManyRequests]), exactly(0))
	out.add("flood_others_rejected", float64(o.rejected), exactly(0))
	return addNoticed(out, &idle, &busy)
}

// noticed is how long the others waited.
type noticed struct{ warm, cold []time.Duration }

// addNoticed adds the figures of the others.
func addNoticed(out *report, idle, busy *noticed) error {
	warmIdle, err1 := latency(idle.warm, 99)
	warmBusy, err2 := latency(busy.warm, 99)
	coldIdle, err3 := latency(idle.cold, 95)
	coldBusy, err4 := latency(busy.cold, 95)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	out.add("flood_others_p99_idle_ms", warmIdle, goal{})
	out.add("flood_others_p99_ms", warmBusy, goal{})
	out.add("flood_others_p99_ratio", warmBusy/warmIdle, atMost(2))
	out.add("flood_others_cold_p95_idle_ms", coldIdle, goal{})
	out.add("flood_others_cold_p95_ms", coldBusy, goal{})
	out.add("flood_others_cold_p95_ratio", coldBusy/coldIdle, atMost(2))
	return nil
}

// refused counts the requests that nmi refused as too many of one pod.
func (a *agent) refused(ctx context.Context) (float64, error) {
	return metric(ctx, a.metrics, `podid_denials_total{reason="too_many"}`)
}

// settles returns when nothing of a flood is left.
func (a *agent) settles(ctx context.Context) error {
	if err := await(ctx, 10*time.Second, func() error {
		held, err := metric(ctx, a.metrics, "podid_held_requests")
		if err == nil && held > 0 {
			err = fmt.Errorf("%g requests are held still", held)
		}
		return err
	}); err != nil {
		return err
	}
	select {
	case <-time.After(floodSettles):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
