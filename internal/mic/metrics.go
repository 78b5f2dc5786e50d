package mic

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/compute"
	"github.com/podid-io/podid/internal/mic/assignment"
	"github.com/podid-io/podid/internal/telemetry"
)

// measured is Azure with a measure of each call.
type measured struct {
	assignment.Machines
	calls *prometheus.HistogramVec
}

var _ assignment.Machines = measured{}

// measure registers the measure of calls.
func measure(m assignment.Machines, r prometheus.Registerer) measured {
	calls := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "podid_mic_azure_call_duration_seconds", Help: "Time of calls to Azure, a change until Azure has carried it out.",
		Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600, 900},
	}, []string{"verb", "outcome"})
	r.MustRegister(calls)
	return measured{m, calls}
}

// RegisterMetrics registers all that a mic which leads measures of itself, with
// nothing measured yet: what can be told of it without a cluster.
func RegisterMetrics(r *prometheus.Registry) {
	telemetry.NewHealth(checkAPI).RegisterMetric(r, readyMetric)
	r.MustRegister(NewWaits().histogram)
	measure(nil, r)
	newRecorder(nil, r)
	assignment.RegisterMetrics(r)
}

// Waits measures how long requests to Azure wait for their turn, within its limits.
type Waits struct{ histogram *prometheus.HistogramVec }

// NewWaits makes the measure, for Config.Waits and for the client of Azure.
func NewWaits() *Waits {
	return &Waits{prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "podid_mic_azure_wait_seconds", Help: "Time that requests to Azure waited for their turn, those that waited.",
		Buckets: []float64{.01, .05, .1, .5, 1, 5, 15, 30, 60, 120, 300, 900, 1800},
	}, []string{"bucket"})}
}

// Observe takes note of a wait for a token of a bucket; see compute.Config.Waited.
func (w *Waits) Observe(bucket string, d time.Duration) {
	w.histogram.WithLabelValues(bucket).Observe(d.Seconds())
}

// Get reads a scope.
func (m measured) Get(ctx context.Context, scope assign.Scope) (compute.State, error) {
	start := time.Now()
	s, err := m.Machines.Get(ctx, scope)
	m.observe(ctx, "get", start, err)
	return s, err
}

// Update changes a scope.
func (m measured) Update(ctx context.Context, scope assign.Scope, s compute.State, attach, detach []string) (compute.Changes, error) {
	start := time.Now()
	c, err := m.Machines.Update(ctx, scope, s, attach, detach)
	m.observe(ctx, "update", start, err)
	return c, err
}

// lister is m that lists too, where Azure does; nil where it does not.
func (m measured) lister() assignment.Lister {
	l, ok := m.Machines.(assignment.Lister)
	if !ok {
		return nil
	}
	return measuredLister{l, m}
}

// measuredLister is a list of machines with a measure of each call.
type measuredLister struct {
	assignment.Lister
	by measured
}

// List reads all machines of a resource group.
func (l measuredLister) List(ctx context.Context, kind assign.Kind, subscription, resourceGroup string) (map[assign.Scope]compute.State, error) {
	start := time.Now()
	states, err := l.Lister.List(ctx, kind, subscription, resourceGroup)
	l.by.observe(ctx, "list", start, err)
	return states, err
}

func (m measured) observe(ctx context.Context, verb string, start time.Time, err error) {
	m.calls.WithLabelValues(verb, outcome(ctx, err)).Observe(time.Since(start).Seconds())
}

// outcome is one word for the end of a call.
func outcome(ctx context.Context, err error) string {
	if err == nil {
		return "ok"
	}
	e, ok := errors.AsType[*compute.Error](err)
	switch {
	case errors.Is(context.Cause(ctx), context.Canceled):
		return "canceled"
	case !ok:
		return "failed"
	}
	switch e.Kind {
	case compute.Conflict:
		return "conflict"
	case compute.Throttled:
		return "throttled"
	case compute.BadIdentity:
		return "bad_identity"
	case compute.NotFound:
		return "not_found"
	case compute.Forbidden:
		return "forbidden"
	case compute.Unsupported:
		return "unsupported"
	default:
		return "failed"
	}
}
