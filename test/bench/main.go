// Command bench measures podid: ratios against a bare net/http server in the
// same run, and times and counts on a real API server and an emulated Azure.
//
//	bench [-json] [-only NAME,...] [-rounds N] [-strict]
//
// The programs mic, nmi and azemu are those beside this one, as `make build`
// leaves them. They run on a node that is a network namespace, and the clients
// have the addresses of its pods, behind one link of it.
package main

import (
	"context"
	"encoding/json"
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
	"text/tabwriter"

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
	f.StringVar(&o.only, "only", "", "names of measurements, separated by commas, or nmi for all of the node agent (all there are)")
	f.IntVar(&o.rounds, "rounds", 10, "interleaved rounds of the warm measurement")
	f.BoolVar(&o.strict, "strict", false, "fail when the two bare servers differ so much that the run is void")
	if err := f.Parse(args); err != nil {
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
	return o.measure(ctx, stdout)
}

// options are the flags.
type options struct {
	json, strict bool
	only         string
	rounds       int
}

// measure runs what was asked for, and prints also what there is when one fails.
func (o options) measure(ctx context.Context, stdout io.Writer) error {
	r, err := newRig(ctx)
	if err != nil {
		return err
	}
	defer r.close()
	out := &report{json: o.json, out: stdout}
	for _, m := range measurements(o.rounds) {
		if !m.wanted(o.only) {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring: %s\n", m.name)
		if err := m.run(ctx, r, out); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", m.name, err), out.flush())
		}
	}
	if err := out.flush(); err != nil {
		return err
	}
	if o.strict && len(out.void) > 0 {
		return errors.New("the run is void")
	}
	return nil
}

// measurement adds figures to a report.
type measurement struct {
	name string
	nmi  bool // of the node agent alone
	run  func(context.Context, *rig, *report) error
}

func measurements(rounds int) []measurement {
	return []measurement{
		{"size", false, size},
		{"patches", false, patches}, // before there are pods that are not of its burst
		{"warm", true, func(ctx context.Context, r *rig, out *report) error { return warm(ctx, r, out, rounds) }},
		{"handler", true, handler},
		{"cold", true, cold},
		{"wake", false, wake},
		{"prefetch", true, prefetched},
		{"refresh", true, refresh110},
		{"flood", true, flooded},
		{"outage", true, outage},
		{"upgrade", true, upgrade},
		{"rss", true, rss},
	}
}

// wanted reports whether the names that were given mean this one.
func (m measurement) wanted(names string) bool {
	list := strings.Split(names, ",")
	return names == "" || slices.Contains(list, m.name) || (m.nmi && slices.Contains(list, "nmi"))
}

// figure is one result. Goal is what the issue demands, empty where it does not.
type figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Goal  string  `json:"-"`
}

// report collects figures.
type report struct {
	json    bool
	out     io.Writer
	figures []figure
	void    []string // figures that say that the run counts for nothing
}

func (r *report) add(name string, value float64, goal string) {
	r.figures = append(r.figures, figure{name, value, goal})
}

func (r *report) flush() error {
	if r.json {
		enc := json.NewEncoder(r.out)
		for _, f := range r.figures {
			if err := enc.Encode(f); err != nil {
				return err
			}
		}
		return nil
	}
	if len(r.void) > 0 {
		fmt.Fprintf(os.Stderr, "this run is void: the machine was too busy for ratios (%s)\n", strings.Join(r.void, ", "))
	}
	w := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', 0)
	for _, f := range r.figures {
		fmt.Fprintf(w, "%s\t%.4g\t%s\n", f.Name, f.Value, f.Goal)
	}
	return w.Flush()
}
