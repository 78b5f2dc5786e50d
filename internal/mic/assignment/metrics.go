package assignment

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
)

// metrics are what the controller counts and measures.
type metrics struct {
	missed   prometheus.Counter
	assigned prometheus.Histogram
	drift    *prometheus.CounterVec
}

// RegisterMetrics registers what a controller measures, one that knows no scope.
func RegisterMetrics(r prometheus.Registerer) {
	newMetrics(r)
	registerSizes(r, &Reconciler{})
}

// newMetrics registers the metrics. A process may have several controllers, one
// after the other: they count on.
func newMetrics(r prometheus.Registerer) metrics {
	m := metrics{
		missed: register(r, prometheus.NewCounter(prometheus.CounterOpts{
			Name: "podid_mic_missed_total", Help: "Changes of which no event told, found by looking at everything. Should be 0.",
		})),
		drift: register(r, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "podid_mic_drift_total", Help: "Identities that somebody else attached or detached, as a look at all machines showed.",
		}, []string{"direction"})),
		assigned: register(r, prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "podid_mic_bound_to_assigned_seconds", Help: "Time from when a pod is on a node until its identity is Assigned.",
			Buckets: []float64{.1, .25, .5, 1, 2, 5, 10, 20, 30, 45, 60, 90, 120, 300, 600},
		})),
	}
	for _, direction := range []string{lost, nobodys, found} {
		m.drift.WithLabelValues(direction) // so that it is shown as 0
	}
	return m
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

// measure takes the time from when the pod of an object was bound until now.
func (r *Reconciler) measure(o *v1.AzureAssignedIdentity, p *corev1.Pod) {
	if string(p.UID) != o.Spec.PodUID {
		return
	}
	bound := p.CreationTimestamp.Time
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.LastTransitionTime.After(bound) {
			bound = c.LastTransitionTime.Time
		}
	}
	r.metrics.assigned.Observe(max(time.Since(bound), 0).Seconds())
}

// podOf is the name of the pod of an object.
func podOf(o *v1.AzureAssignedIdentity) types.NamespacedName {
	return types.NamespacedName{Namespace: o.Spec.PodNamespace, Name: o.Spec.Pod}
}

// sizes shows how many identities scopes have, and how many are in quarantine,
// without naming any.
type sizes struct{ r *Reconciler }

// Descriptions of sizes. The most is a metric of its own: a histogram has none.
const (
	sizesName, sizesHelp = "podid_mic_scope_identities", "How many identities podid knows of on a VM or scale set; how many of these there are."
	mostName, mostHelp   = "podid_mic_scope_identities_max", "The most identities that podid knows of on one VM or scale set."

	quarantinedName, quarantinedHelp = "podid_mic_quarantined_identities", "Identities that Azure refused to attach or detach, each counted for each VM or scale set."
)

// registerSizes has the scopes of this controller shown, and not those of one
// before, until end: a standby has none.
func registerSizes(to prometheus.Registerer, r *Reconciler) (end func()) {
	if to == nil {
		return func() {}
	}
	c := sizes{r}
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](to.Register(c)); ok {
		to.Unregister(already.ExistingCollector)
		_ = to.Register(c) // there is room now
	}
	return func() { to.Unregister(c) }
}

// Describe says which metrics there are.
func (c sizes) Describe(to chan<- *prometheus.Desc) {
	to <- prometheus.NewDesc(sizesName, sizesHelp, nil, nil)
	to <- prometheus.NewDesc(mostName, mostHelp, nil, nil)
	to <- prometheus.NewDesc(quarantinedName, quarantinedHelp, nil, nil)
}

// Collect counts.
func (c sizes) Collect(to chan<- prometheus.Metric) {
	c.r.mu.Lock()
	buckets := map[float64]uint64{1: 0, 5: 0, 10: 0, 20: 0, 50: 0, 100: 0, 150: 0, 300: 0, 1000: 0}
	sum, most := 0, 0
	for _, n := range c.r.sizes {
		sum, most = sum+n, max(most, n)
		for b := range buckets {
			if float64(n) <= b {
				buckets[b]++
			}
		}
	}
	count, quarantined := uint64(len(c.r.sizes)), 0
	for _, n := range c.r.refused {
		quarantined += n
	}
	c.r.mu.Unlock()
	to <- prometheus.MustNewConstHistogram(prometheus.NewDesc(sizesName, sizesHelp, nil, nil), count, float64(sum), buckets)
	to <- prometheus.MustNewConstMetric(prometheus.NewDesc(mostName, mostHelp, nil, nil), prometheus.GaugeValue, float64(most))
	to <- prometheus.MustNewConstMetric(prometheus.NewDesc(quarantinedName, quarantinedHelp, nil, nil), prometheus.GaugeValue, float64(quarantined))
}

// size takes note of how many identities a scope has.
func (r *Reconciler) size(scope assign.Scope, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n == 0 {
		delete(r.sizes, scope)
		return
	}
	r.sizes[scope] = n
}
