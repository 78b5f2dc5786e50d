package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
)

const handlerSamples = "5000x" // of a round; the benchmark has twenty

// outageCases is how many cases the test of the outage has.
const outageCases = 12

// outage counts what clients notice while Azure is away, in virtual time: a test
// of nmi says so.
func outage(ctx context.Context, r *rig, out *report) error {
	text, failed := r.goTest(ctx, "-run", "^TestOutage$", "-v")
	figures, err := findAll(text, `outage_(\w+): (\d+)`)
	if err != nil {
		return errors.Join(err, failed) // where it only failed, its figures say how
	}
	sums := map[string]float64{}
	for _, name := range []string{"requests", "errors"} {
		if got := len(figures[name]); got != outageCases {
			return errors.Join(fmt.Errorf("%d figures of %s, want %d", got, name, outageCases), failed)
		}
		for _, v := range figures[name] {
			sums[name] += v
		}
	}
	if failed != nil && sums["errors"] == 0 {
		return failed // for another reason than its figure
	}
	for _, name := range []string{"requests", "errors"} {
		g := goal{}
		if name == "errors" {
			g = exactly(0)
		}
		out.add("outage_"+name, sums[name], g)
	}
	return nil
}

// handlerPods are the sizes of node that the benchmark knows.
func handlerPods() []string { return []string{"30", "250", "5000"} }

// handler is how long nmi takes from Classify to Write, without a network, on
// nodes with few pods and with many, each of which has an identity and a cached
// token of its own: a benchmark of nmi, whose rounds are interleaved. The figures
// with some30 are of the same nodes while only 30 of their pods ask: what nmi has
// to do, without the misses of the processor's caches that asking for megabytes
// of tokens by turns brings.
func handler(ctx context.Context, r *rig, out *report) error {
	text, err := r.goTest(ctx, "-run", "^$", "-bench", "^BenchmarkHandler$", "-benchtime", handlerSamples)
	if err != nil {
		return err
	}
	figures, err := findAll(text, `BenchmarkHandler/(\d+(?:some30)?)(?:#\d+)?(?:-\d+)?\s+\d+\s+([\d.]+) ns/op`)
	if err != nil {
		return err
	}
	for _, who := range []struct{ figure, benchmark string }{{"handler_", ""}, {"handler_some30_", "some30"}} {
		few := figures[handlerPods()[0]+who.benchmark]
		for _, pods := range handlerPods() {
			of := figures[pods+who.benchmark]
			if len(of) == 0 || len(of) != len(few) {
				return fmt.Errorf("%d figures for %s pods and %d for the fewest in: %s", len(of), pods, len(few), text)
			}
			out.add(who.figure+"ns_"+pods, median(of), goal{})
		}
		for _, pods := range handlerPods()[1:] {
			out.add(who.figure+"ratio_"+pods, over(figures[pods+who.benchmark], few), between(0.95, 1.05))
		}
	}
	return nil
}

// goTest runs tests of nmi's handler.
func (r *rig) goTest(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"test", "-count=1"}, args...), "./internal/nmi")...) //nolint:gosec // with arguments of ours
	cmd.Dir = filepath.Join(r.bin, "..")
	text, err := cmd.CombinedOutput()
	if err != nil {
		return text, fmt.Errorf("go test: %w: %s", err, text)
	}
	return text, nil
}

// findAll reads names and numbers out of a text.
func findAll(text []byte, pattern string) (map[string][]float64, error) {
	found := map[string][]float64{}
	p := regexp.MustCompile(pattern)
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		if m := p.FindStringSubmatch(s.Text()); m != nil {
			v, err := strconv.ParseFloat(m[2], 64)
			if err != nil {
				return nil, err
			}
			found[m[1]] = append(found[m[1]], v)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no figures in: %s", text)
	}
	return found, nil
}
