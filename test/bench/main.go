// Command bench measures podid: ratios against a bare net/http server in the
// same run, and times and counts on a real API server and an emulated Azure.
//
//	bench [-json] [-only NAME,...] [-rounds N]
//
// The programs mic, nmi and azemu are those beside this one, as `make build`
// leaves them; everything talks over loopback TCP.
package main

import (
	"context"
	"encoding/json"
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
	if len(args) > 0 && args[0] == "bare" {
		return bare(ctx, args[1:])
	}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	asJSON := f.Bool("json", false, "print one JSON object a line")
	only := f.String("only", "", "names of measurements, separated by commas: warm, cold, wake, patches, rss, size (all)")
	rounds := f.Int("rounds", 10, "interleaved rounds of the warm measurement")
	if err := f.Parse(args); err != nil {
		return err
	}
	telemetry.Bridge(slog.New(slog.DiscardHandler))
	r, err := newRig(ctx)
	if err != nil {
		return err
	}
	defer r.close()
	out := &report{json: *asJSON, out: stdout}
	measurements := []struct {
		name string
		run  func(context.Context, *rig, *report) error
	}{
		{"size", size},
		{"patches", patches}, // before there are pods that are not of its burst
		{"warm", func(ctx context.Context, r *rig, out *report) error { return warm(ctx, r, out, *rounds) }},
		{"cold", cold},
		{"wake", wake},
		{"rss", rss},
	}
	for _, m := range measurements {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), m.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring: %s\n", m.name)
		if err := m.run(ctx, r, out); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return out.flush()
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
	w := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', 0)
	for _, f := range r.figures {
		fmt.Fprintf(w, "%s\t%.4g\t%s\n", f.Name, f.Value, f.Goal)
	}
	return w.Flush()
}
