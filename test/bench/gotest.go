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

const handlerSamples = "5000x" // of a round; the benchmark has forty

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
		goal := ""
		if name == "errors" {
			goal = "0"
		}
		out.add("outage_"+name, sums[name], goal)
	}
	return nil
}

// handler is how long nmi takes from Classify to Write, without a network, on
// nodes with few pods and with many: a benchmark of nmi, whose rounds are
// interleaved.
func handler(ctx context.Context, r *rig, out *report) error {
	text, err := r.goTest(ctx, "-run", "^$", "-bench", "^BenchmarkHandler$", "-benchtime", handlerSamples)
	if err != nil {
		return err
	}
	figures, err := findAll(text, `BenchmarkHandler/(\d+)\S*\s+\d+\s+([\d.]+) ns/op`)
	if err != nil {
		return err
	}
	for _, pods := range []string{"30", "250", "5000"} {
		if len(figures[pods]) == 0 {
			return fmt.Errorf("no figures for %s pods in: %s", pods, text)
		}
		out.add("handler_ns_"+pods, median(figures[pods]), "")
	}
	few := figures["30"]
	out.add("handler_ratio_250", over(figures["250"], few), "0.95 to 1.05")
	out.add("handler_ratio_5000", over(figures["5000"], few), "0.95 to 1.05")
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
