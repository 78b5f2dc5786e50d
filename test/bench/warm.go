package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	vault       = "https://vault.azure.net"
	warmPods    = 110
	connections = 16
	oneAtATime  = 2000            // requests of a round on one connection,
	chunk       = 250             // by turns with the other side, so that both share the noise
	floodTime   = 2 * time.Second // of a round on 16
)

// side is one of the two servers that are compared.
type side struct {
	pid     int
	listen  string
	mallocs func() (float64, error)

	one    *conn
	p50    []float64       // milliseconds, by round
	p99    []time.Duration // every answer
	cpu    []float64       // microseconds a request, by round
	allocs []float64       // a request, by round
}

// warm compares nmi with a warm cache, audit on, to a bare server that returns
// the same bytes, in interleaved rounds.
func warm(ctx context.Context, r *rig, out *report, rounds int) error {
	const node, number = "warm", 0
	if err := r.addPods(ctx, node, number, warmPods); err != nil {
		return err
	}
	on, err := r.startAgent(ctx, node)
	if err != nil {
		return err
	}
	defer end(on.cmd)
	var from []string
	for i := range connections {
		from = append(from, podIP(number, i))
	}
	if _, err := flood(ctx, on.listen, from, request(vault), 200*time.Millisecond); err != nil { // fill the cache
		return err
	}
	file, err := r.save(ctx, on.listen, from[0])
	if err != nil {
		return err
	}
	bare, err := r.startBare(ctx, file)
	if err != nil {
		return err
	}
	defer end(bare.cmd)
	nmi := &side{pid: on.cmd.Process.Pid, listen: on.listen, mallocs: func() (float64, error) {
		return metric(ctx, on.metrics, "go_memstats_mallocs_total")
	}}
	plain := &side{pid: bare.cmd.Process.Pid, listen: bare.listen, mallocs: func() (float64, error) {
		return metric(ctx, "http://"+bare.stats+"/", "go_memstats_mallocs_total")
	}}
	both := []*side{plain, nmi}
	for _, s := range both {
		if s.one, err = dial(ctx, from[0], s.listen, request(vault)); err != nil {
			return err
		}
	}
	for i := range rounds + 1 { // the first is to warm up, and counts for nothing
		if err := oneByOne(both, i > 0); err != nil {
			return err
		}
		for _, s := range both {
			if err := s.many(ctx, from, i > 0); err != nil {
				return err
			}
		}
	}
	return compare(out, plain, nmi)
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

// oneByOne measures how long each side takes on one connection.
func oneByOne(sides []*side, counts bool) error {
	took := make([][]time.Duration, len(sides))
	for range oneAtATime / chunk {
		for i, s := range sides {
			l, err := latencies(s.one, chunk)
			if err != nil {
				return err
			}
			took[i] = append(took[i], l...)
		}
	}
	for i, s := range sides {
		if counts {
			s.p50 = append(s.p50, milliseconds(percentile(took[i], 0.5)))
			s.p99 = append(s.p99, took[i]...)
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

// compare adds the figures of both sides and their ratios, each the median over
// the rounds.
func compare(out *report, bare, nmi *side) error {
	if len(bare.p50) == 0 {
		return fmt.Errorf("no rounds")
	}
	var p50, cpu, allocs []float64
	for i := range bare.p50 {
		p50 = append(p50, nmi.p50[i]/bare.p50[i])
		cpu = append(cpu, nmi.cpu[i]/bare.cpu[i])
		allocs = append(allocs, nmi.allocs[i]-bare.allocs[i])
	}
	out.add("bare_p50_ms", median(bare.p50), "")
	out.add("warm_p50_ms", median(nmi.p50), "")
	out.add("warm_p50_ratio", median(p50), "<= 1.35")
	out.add("bare_p99_ms", milliseconds(percentile(bare.p99, 0.99)), "")
	out.add("warm_p99_ms", milliseconds(percentile(nmi.p99, 0.99)), "")
	out.add("bare_cpu_us", median(bare.cpu), "")
	out.add("warm_cpu_us", median(nmi.cpu), "")
	out.add("warm_cpu_ratio", median(cpu), "<= 1.4")
	out.add("bare_allocs", median(bare.allocs), "")
	out.add("warm_allocs", median(nmi.allocs), "")
	out.add("warm_allocs_over_bare", median(allocs), "<= 10")
	return nil
}
