package nmi

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/token"
)

// outcome is how a request for a token ended. The set is closed, since it
// labels metrics.
type outcome string

const (
	hit         = outcome(token.Hit)
	stale       = outcome(token.Stale)
	miss        = outcome(token.Miss)
	coalesced   = outcome(token.Coalesced)
	denied      = outcome("denied")
	notReady    = outcome("not_ready")
	unavailable = outcome("unavailable")
	badRequest  = outcome("bad_request")
	canceled    = outcome("canceled")
	failed      = outcome("failed")
)

// Reasons of nmi's own, beside those of identity.Select.
const (
	reasonOrigin     identity.Reason = "origin"      // the connection is not the pod's own
	reasonUnknownPod identity.Reason = "unknown_pod" // no pod, or several, have the address
	reasonController identity.Reason = "controller"  // mic asked for what it may not have
	reasonRejected   identity.Reason = "rejected"    // Azure refused
	reasonTooMany    identity.Reason = "too_many"    // too many requests of the pod, or in all, are held
)

// Metrics are what nmi counts. docs/metrics.md lists them.
type Metrics struct {
	requests map[outcome]prometheus.Observer
	held     prometheus.Gauge
	dropped  prometheus.Counter
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	requests := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "podid_token_request_duration_seconds",
		Help:    "Time to answer a request for a token, by outcome.",
		Buckets: []float64{25e-6, 50e-6, 100e-6, 250e-6, 500e-6, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
	}, []string{"outcome"})
	m := &Metrics{
		requests: make(map[outcome]prometheus.Observer),
		held: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "podid_held_requests", Help: "Requests that wait for an identity on its way.",
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "podid_audit_dropped_total", Help: "Audit lines dropped because the sink was too slow.",
		}),
	}
	for _, o := range []outcome{hit, stale, miss, coalesced, denied, notReady, unavailable, badRequest, canceled, failed} {
		m.requests[o] = requests.WithLabelValues(string(o))
	}
	r.MustRegister(requests, m.held, m.dropped)
	return m
}

func (m *Metrics) observe(o outcome, d time.Duration) {
	if obs, ok := m.requests[o]; ok {
		obs.Observe(d.Seconds())
	}
}
