// Command bench measures podid: ratios against a bare net/http server in the
// same run, and times and counts on a real API server and an emulated Azure.
//
//	bench [-json] [-only NAME,...] [-rounds N] [-strict]
//
// The programs mic, nmi and azemu are those beside this one, as `make build`
// leaves them, in a sandbox with a network of its own. nmi runs on a node that is
// a network namespace, and its clients have the addresses of the node's pods,
// behind one link of it; mic has an API server and an Azure on the loopback.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/podid-io/podid/internal/telemetry"
	"github.com/podid-io/podid/test/localcluster"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(args) > 0 {
		switch args[0] { // programs that it starts itself
		case "bare":
			return bare(ctx, args[1:])
		case "flood":
			return floodProgram(ctx, args[1:])
		}
	}
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.BoolVar(&o.json, "json", false, "print one JSON object a line")
	f.StringVar(&o.only, "only", "", "names of measurements, separated by commas, or nmi or mic for all of one program (all there are)")
	f.IntVar(&o.rounds, "rounds", 10, "interleaved rounds of the warm measurement")
	f.BoolVar(&o.strict, "strict", false, "fail when a goal is missed, or the two bare servers differ so much that the run is void")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("%q is no flag", f.Arg(0))
	}
	chosen, err := choose(measurements(o.rounds), o.only)
	if err != nil {
		return err
	}
	ran, code, err := localcluster.Reexec(ctx, localcluster.SandboxConfig{})
	if ran && err == nil && code != 0 {
		return fmt.Errorf("it ended with status %d", code)
	}
	if ran || err != nil {
		return err
	}
	telemetry.Bridge(slog.New(slog.DiscardHandler))
	return o.measure(ctx, chosen, stdout)
}

// options are the flags.
type options struct {
	json, strict bool
	only         string
	rounds       int
}

// measure runs what was asked for, and prints also what there is when one fails.
func (o options) measure(ctx context.Context, chosen []measurement, stdout io.Writer) error {
	r, err := newRig()
	if err != nil {
		return err
	}
	defer r.close()
	out := &report{json: o.json, out: stdout}
	for _, m := range chosen {
		fmt.Fprintf(os.Stderr, "measuring: %s\n", m.name)
		if m.of != ofMIC {
			if err := r.start(ctx); err != nil {
				return err
			}
		}
		if err := m.run(ctx, r, out); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", m.name, err), out.flush())
		}
	}
	if err := out.flush(); err != nil {
		return err
	}
	if o.strict {
		return out.missed()
	}
	return nil
}

// measurement adds figures to a report.
type measurement struct {
	name string
	of   string // the program that it is of alone; see ofMIC
	run  func(context.Context, *rig, *report) error
}

// Groups of measurements. Those of mic need no node.
const (
	ofNMI = "nmi"
	ofMIC = "mic"
)

func measurements(rounds int) []measurement {
	return []measurement{
		{"size", "", size},
		{"patches", ofMIC, patches},
		{"burst200", ofMIC, burst200},
		{"burst2000", ofMIC, burst2000},
		{"bad", ofMIC, bad},
		{"rolling", ofMIC, rolling},
		{"failover", ofMIC, failover},
		{"large", ofMIC, large},
		{"warm", ofNMI, func(ctx context.Context, r *rig, out *report) error { return warm(ctx, r, out, rounds) }},
		{"handler", ofNMI, handler},
		{"cold", ofNMI, cold},
		{"wake", "", wake},
		{"prefetch", ofNMI, prefetched},
		{"refresh", ofNMI, refresh110},
		{"flood", ofNMI, flooded},
		{"outage", ofNMI, outage},
		{"upgrade", ofNMI, upgrade},
		{"rss", ofNMI, rss},
	}
}

// choose are the measurements that names mean: those of a list, all of one
// program for nmi or mic, and all there are for nothing.
func choose(all []measurement, names string) ([]measurement, error) {
	if names == "" {
		return all, nil
	}
	known := []string{ofNMI, ofMIC}
	for _, m := range all {
		known = append(known, m.name)
	}
	list := strings.Split(names, ",")
	for i, name := range list {
		if list[i] = strings.TrimSpace(name); !slices.Contains(known, list[i]) {
			return nil, fmt.Errorf("no measurement is called %q: there are %s", list[i], strings.Join(known, ", "))
		}
	}
	return slices.DeleteFunc(all, func(m measurement) bool {
		return !slices.Contains(list, m.name) && (m.of == "" || !slices.Contains(list, m.of))
	}), nil
}
