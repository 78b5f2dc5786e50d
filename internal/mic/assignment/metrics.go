package assignment

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what the controller counts and measures.
type metrics struct {
	missed      prometheus.Counter
	quarantined prometheus.Gauge
}

// newMetrics registers the metrics. A process may have several controllers, one
// after the other: they count on.
func newMetrics(r prometheus.Registerer) metrics {
	return metrics{
		missed: register(r, prometheus.NewCounter(prometheus.CounterOpts{
			Name: "podid_mic_missed_total", Help: "Changes of which no event told, found by looking at everything. Should be 0.",
		})),
		quarantined: register(r, prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "podid_mic_quarantined_identities", Help: "Identities that Azure refused to attach or detach, each counted for each VM or scale set.",
		})),
	}
}

func register[C prometheus.Collector](r prometheus.Registerer, c C) C {
	if r == nil {
		return c
	}
	err := r.Register(c)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if before, ok := already.ExistingCollector.(C); ok {
			return before
		}
	}
	return c
}
