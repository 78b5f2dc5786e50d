package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"
)

// RegisterMetric adds a gauge of each check: 1 where it is green, else 0.
func (h *Health) RegisterMetric(r prometheus.Registerer, name string) {
	r.MustRegister(&healthMetric{h, prometheus.NewDesc(name, "1 where a check of readiness is green.", []string{"check"}, nil)})
}

type healthMetric struct {
	health *Health
	desc   *prometheus.Desc
}

// Describe tells what Collect will.
func (m *healthMetric) Describe(ch chan<- *prometheus.Desc) { ch <- m.desc }

// Collect tells of each check.
func (m *healthMetric) Collect(ch chan<- prometheus.Metric) {
	m.health.mu.Lock()
	defer m.health.mu.Unlock()
	for name, reason := range m.health.checks {
		green := 0.0
		if reason == "" {
			green = 1
		}
		ch <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, green, name)
	}
}
