package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/podid-io/podid/internal/mic"
	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/token"
)

// metricsPage is the reference of metrics.
func metricsPage(context.Context, string) (*page, error) {
	p := newPage("Metrics",
		"From the registries of nmi and mic, beside what Go and the process tell of themselves (`go_`, `process_`). [metrics.md](../metrics.md) says what the values of labels mean, and what else nmi and mic tell.")
	agent := prometheus.NewRegistry()
	nmi.NewMetrics(agent)
	up := func() bool { return true }
	nmi.RegisterState(agent, nmi.State{
		ViewAge: func() time.Duration { return 0 }, Tokens: func() token.Stats { return token.Stats{} }, Redirect: up, Canary: up,
	})
	controller := prometheus.NewRegistry()
	mic.RegisterMetrics(controller)
	libraries, ok := ctrlmetrics.Registry.(*prometheus.Registry)
	if !ok {
		return nil, fmt.Errorf("controller-runtime's registry is a %T", ctrlmetrics.Registry)
	}
	for _, section := range []struct {
		title, text string
		registry    *prometheus.Registry
	}{
		{"nmi", "At `--metrics-listen` of nmi. `podid_redirect_up` and `podid_canary_up` are there where nmi redirects (not with `--redirect=none`).", agent},
		{"mic", "At `--metrics-listen` of mic.", controller},
		{"mic's libraries", "At the same place, of controller-runtime and client-go.", libraries},
	} {
		rows, err := measures(section.registry)
		if err != nil {
			return nil, fmt.Errorf("metrics of %s: %w", section.title, err)
		}
		p.heading(2, section.title)
		p.say(section.text)
		p.table([]string{"name", "type", "labels", "what"}, rows)
	}
	return p, nil
}

// measures are the rows of a registry, by name.
func measures(r *prometheus.Registry) ([][]string, error) {
	for _, d := range descriptions(r) {
		if err := show(r, d); err != nil {
			return nil, err
		}
	}
	families, err := r.Gather()
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for _, f := range families {
		if name := f.GetName(); strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
			continue
		}
		rows = append(rows, []string{code(f.GetName()), kindOfMetric(f), labels(f), plain(strings.TrimSuffix(f.GetHelp(), "."))})
	}
	return rows, nil
}

// descriptions are those of all collectors.
func descriptions(r *prometheus.Registry) []*prometheus.Desc {
	ch := make(chan *prometheus.Desc)
	go func() {
		r.Describe(ch)
		close(ch)
	}()
	var list []*prometheus.Desc
	for d := range ch {
		list = append(list, d)
	}
	return list
}

// described is a collector of which nothing is known but its description.
type described struct{ desc *prometheus.Desc }

// Describe says which metric it is.
func (d described) Describe(ch chan<- *prometheus.Desc) { ch <- d.desc }

// Collect has nothing.
func (described) Collect(chan<- prometheus.Metric) {}

// show has a vector show a metric: one that nobody has used shows none. A registry
// gives a collector to whoever registers its description again.
func show(r *prometheus.Registry, d *prometheus.Desc) error {
	already, ok := errors.AsType[prometheus.AlreadyRegisteredError](r.Register(described{d}))
	if !ok {
		return nil // one with several descriptions, which shows its metrics by itself
	}
	var with func(values ...string) error
	switch v := already.ExistingCollector.(type) {
	case *prometheus.CounterVec:
		with = func(values ...string) error { _, err := v.GetMetricWithLabelValues(values...); return err }
	case *prometheus.GaugeVec:
		with = func(values ...string) error { _, err := v.GetMetricWithLabelValues(values...); return err }
	case *prometheus.HistogramVec:
		with = func(values ...string) error { _, err := v.GetMetricWithLabelValues(values...); return err }
	case *prometheus.SummaryVec:
		with = func(values ...string) error { _, err := v.GetMetricWithLabelValues(values...); return err }
	default:
		return nil
	}
	var err error
	for labels := range 10 { // how many it has, it does not tell
		if err = with(make([]string, labels)...); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s: %w", d, err)
}

// kindOfMetric is the type, and the bounds of a histogram.
func kindOfMetric(f *dto.MetricFamily) string {
	kind := strings.ToLower(f.GetType().String())
	buckets := f.GetMetric()[0].GetHistogram().GetBucket()
	if len(buckets) == 0 {
		return kind
	}
	bound := func(b *dto.Bucket) string {
		if !strings.HasSuffix(f.GetName(), "_seconds") {
			return fmt.Sprintf("%g", b.GetUpperBound())
		}
		return duration(time.Duration(math.Round(b.GetUpperBound() * float64(time.Second))).String())
	}
	buckets = slices.DeleteFunc(slices.Clone(buckets), func(b *dto.Bucket) bool { return math.IsInf(b.GetUpperBound(), 1) })
	return fmt.Sprintf("%s, %s to %s", kind, bound(buckets[0]), bound(buckets[len(buckets)-1]))
}

// labels are the names of a family's labels.
func labels(f *dto.MetricFamily) string {
	var names []string
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if name := code(l.GetName()); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return strings.Join(names, ", ")
}

// duration is a duration as one writes it, without zeros at its end.
func duration(s string) string {
	if s == "0s" {
		return "0"
	}
	if minutes, ok := strings.CutSuffix(s, "m0s"); ok {
		s = minutes + "m"
	}
	if hours, ok := strings.CutSuffix(s, "h0m"); ok {
		s = hours + "h"
	}
	return s
}
