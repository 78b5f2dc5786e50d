package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

const (
	vault       = "https://vault.azure.net"
	warmPods    = 110
	connections = 16
	oneAtATime  = 2000                    // requests of a round on one connection,
	chunk       = 250                     // by turns with the other side, so that both share the noise
	floodTime   = 1500 * time.Millisecond // of a round on 16
)

// side is one of the two servers that are compared.
type side struct {
	pid     int
	listen  string
	mallocs func() (float64, error)

	one    *conn
	p50    []float64       // milliseconds, by round
	all    []time.Duration // every answer
	cpu    []float64       // microseconds a request, by round
	allocs []float64       // a request, by round
}

// unlimited is more requests a second than one pod can send. What limits them
// stays in the way and is asked for each request, but never has one wait: these
// few clients stand for a node full of pods.
const unlimited = "100000000"

// warm compares nmi with a warm cache, with audit and without, to a bare server
// that returns the same bytes, in interleaved rounds. A second bare server tells
// how much of a difference is noise.
func warm(ctx context.Context, r *rig, out *report, rounds int) error {
	const node, number = "warm", 0
	if err := r.addPods(ctx, node, number, warmPods); err != nil {
		return err
	}
	var from []string
	for i := range connections {
		from = append(from, podIP(number, i))
	}
	var sides []*side
	file := ""
	for _, flags := range [][]string{nil, {"--audit", "off"}} {
		a, err := r.startAgent(ctx, node, append(flags, "--pod-rate", unlimited)...)
		if err != nil {
			return err
		}
		defer r.end(a.cmd)
		if _, err := flood(ctx, a.listen, from, request(vault), 200*time.Millisecond); err != nil { // fill the cache
			return err
		}
		if file, err = r.save(ctx, a.listen, from[0]); err != nil {
			return err
		}
		sides = append(sides, &side{pid: a.cmd.Process.Pid, listen: a.listen, mallocs: func() (float64, error) {
			return metric(ctx, a.metrics, "go_memstats_mallocs_total")
		}})
	}
	for range 2 {
		bare, err := r.startBare(ctx, file)
		if err != nil {
			return err
		}
		defer r.end(bare.cmd)
		sides = append(sides, &side{pid: bare.cmd.Process.Pid, listen: bare.listen, mallocs: func() (float64, error) {
			return metric(ctx, "http://"+bare.stats+"/", "go_memstats_mallocs_total")
		}})
	}
	if err := measure(ctx, sides, from, rounds); err != nil {
		return err
	}
	return compare(out, sides[0], sides[1], sides[2], sides[3])
}

// measure runs the rounds. The first is to warm up, and counts for nothing.
func measure(ctx context.Context, sides []*side, from []string, rounds int) error {
	for _, s := range sides {
		var err error
		if s.one, err = dial(ctx, from[0], s.listen, request(vault)); err != nil {
			return err
		}
		defer func() { _ = s.one.Close() }()
	}
	for i := range rounds + 1 {
		if err := oneByOne(sides, i > 0); err != nil {
			return err
		}
		for _, n := range rand.Perm(len(sides)) { //nolint:gosec // draws an order, guards nothing
			if err := sides[n].many(ctx, from, i > 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// save writes an answer of nmi to a file, for the bare server to return.
func (r *rig) save(ctx context.Context, listen, from string) (string, error) {
	c, err := dial(ctx, from, listen, request(vault))
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	body, err := c.do(nil)
	if err != nil {
		return "", err
	}
	file := filepath.Join(r.dir, "answer.json")
	return file, os.WriteFile(file, body, 0o600)
}

// oneByOne measures how long each side takes on one connection, by turns in an
// order that is drawn each time: it matters who had the processor before.
func oneByOne(sides []*side, counts bool) error {
	took := make([][]time.Duration, len(sides))
	for range oneAtATime / chunk {
		for _, i := range rand.Perm(len(sides)) { //nolint:gosec // draws an order, guards nothing
			l, err := latencies(sides[i].one, chunk)
			if err != nil {
				return err
			}
			took[i] = append(took[i], l...)
		}
	}
	for i, s := range sides {
		if counts {
			s.p50 = append(s.p50, milliseconds(rank(took[i], 0.5)))
			s.all = append(s.all, took[i]...)
		}
	}
	return nil
}

// many measures what one side spends on many connections.
func (s *side) many(ctx context.Context, from []string, counts bool) error {
	cpuBefore, err := cpu(s.pid)
	if err != nil {
		return err
	}
	mallocsBefore, err := s.mallocs()
	if err != nil {
		return err
	}
	n, err := flood(ctx, s.listen, from, request(vault), floodTime)
	if err != nil {
		return err
	}
	mallocsAfter, err := s.mallocs()
	if err != nil {
		return err
	}
	cpuAfter, err := cpu(s.pid)
	if err != nil || !counts {
		return err
	}
	s.cpu = append(s.cpu, float64((cpuAfter-cpuBefore).Microseconds())/float64(n))
	s.allocs = append(s.allocs, (mallocsAfter-mallocsBefore)/float64(n))
	return nil
}

// compare adds the figures of all sides and their ratios, each the median over
// the rounds. Where the two bare servers differ too much the run is void.
func compare(out *report, on, off, bare, again *side) error {
	if len(bare.p50) == 0 {
		return errors.New("no rounds")
	}
	bare99, err1 := latency(bare.all, 99)
	warm99, err2 := latency(on.all, 99)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	out.equals(
		figure{Name: "bare_over_bare", Value: over(again.p50, bare.p50)},
		figure{Name: "bare_cpu_over_bare", Value: over(again.cpu, bare.cpu)},
	)
	out.add("bare_p50_ms", median(bare.p50), goal{})
	out.add("warm_p50_ms", median(on.p50), goal{})
	out.add("warm_p50_ratio", over(on.p50, bare.p50), atMost(1.25))
	out.add("warm_p50_ratio_noaudit", over(off.p50, bare.p50), atMost(1.12))
	out.add("bare_p99_ms", bare99, goal{})
	out.add("warm_p99_ms", warm99, goal{})
	out.add("bare_cpu_us", median(bare.cpu), goal{})
	out.add("warm_cpu_us", median(on.cpu), goal{})
	out.add("warm_cpu_ratio", over(on.cpu, bare.cpu), atMost(1.30))
	out.add("warm_cpu_ratio_noaudit", over(off.cpu, bare.cpu), goal{})
	out.add("bare_allocs", median(bare.allocs), goal{})
	out.add("warm_allocs", median(on.allocs), goal{})
	out.add("warm_allocs_over_bare", median(on.allocs)-median(bare.allocs), atMost(8))
	out.add("warm_allocs_over_bare_noaudit", median(off.allocs)-median(bare.allocs), atMost(4))
	return nil
}

// over is the median of the ratios of the rounds.
func over(these, those []float64) float64 {
	ratios := make([]float64, len(these))
	for i := range these {
		ratios[i] = these[i] / those[i]
	}
	return median(ratios)
}
