package nmi

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/imds"
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
	reasonTooMany    identity.Reason = "too_many"    // too many requests of the pod, or in all, wait
	reasonDefinition identity.Reason = "definition"  // the AzureIdentity, or its Secret, cannot be used as it is
	reasonNoVolume   identity.Reason = "no_volume"   // asked for on the node, for a pod without such a volume
	reasonException  identity.Reason = "exception"   // an AzurePodIdentityException let the pod through; there is a token

	// Of answers that are no refusals.
	reasonUnavailable identity.Reason = "unavailable" // Azure does not answer
	reasonBadRequest  identity.Reason = "bad_request" // the request cannot be understood
	reasonCanceled    identity.Reason = "canceled"    // the client left
	reasonFailed      identity.Reason = "failed"      // a fault of nmi's
)

// reasons are all there are for no token.
func reasons() []identity.Reason {
	return []identity.Reason{
		identity.NoLabel, identity.NoBinding, identity.NotBound, identity.NotAllowed, identity.Unassigned, identity.NotSupported,
		reasonOrigin, reasonUnknownPod, reasonController, reasonRejected, reasonTooMany, reasonDefinition, reasonNoVolume,
		reasonUnavailable, reasonBadRequest, reasonCanceled, reasonFailed,
	}
}

// door is where a request came in.
type door string

const (
	onPod  door = "pod"
	onHost door = "host"
)

// Metrics are what nmi counts of its requests. docs/reference/metrics.md lists them.
type Metrics struct {
	requests map[door]map[outcome]prometheus.Observer
	denials  map[identity.Reason]prometheus.Counter
	passes   map[imds.Family]prometheus.Counter
	held     prometheus.Gauge
	dropped  prometheus.Counter

	connections prometheus.Gauge
	refused     prometheus.Counter
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	requests := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "podid_token_request_duration_seconds",
		Help:    "Time to answer a request for a token, by where it came in and outcome.",
		Buckets: []float64{25e-6, 50e-6, 100e-6, 250e-6, 500e-6, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"door", "outcome"})
	denials := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "podid_denials_total", Help: "Requests for a token that got none, by reason.",
	}, []string{"reason"})
	passes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "podid_passed_on_total", Help: "Requests passed on to the metadata service, by family.",
	}, []string{"family"})
	m := &Metrics{
		requests: map[door]map[outcome]prometheus.Observer{onPod: {}, onHost: {}},
		denials:  make(map[identity.Reason]prometheus.Counter),
		passes:   make(map[imds.Family]prometheus.Counter),
		held: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "podid_held_requests", Help: "Requests that wait: for an identity on its way, or for Azure.",
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "podid_audit_dropped_total", Help: "Audit lines lost: there was no room for them, or the sink failed.",
		}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "podid_connections", Help: "Open connections of pods.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "podid_connections_refused_total", Help: "Connections closed because there were too many, of one address or in all.",
		}),
	}
	for _, o := range []outcome{hit, stale, miss, coalesced, denied, notReady, unavailable, badRequest, canceled, failed} {
		for d, by := range m.requests {
			by[o] = requests.WithLabelValues(string(d), string(o))
		}
	}
	for _, reason := range reasons() {
		m.denials[reason] = denials.WithLabelValues(string(reason))
	}
	for _, f := range imds.Families() {
		m.passes[f] = passes.WithLabelValues(string(f))
	}
	r.MustRegister(requests, denials, passes, m.held, m.dropped, m.connections, m.refused)
	return m
}

// observe counts an answer.
func (m *Metrics) observe(d door, a *answer, took time.Duration) {
	if obs, ok := m.requests[d][a.outcome]; ok {
		obs.Observe(took.Seconds())
	}
	if a.err == nil {
		return
	}
	if c, ok := m.denials[a.reason]; ok {
		c.Inc()
	}
}

func (m *Metrics) passed(f imds.Family) {
	if c, ok := m.passes[f]; ok {
		c.Inc()
	}
}
