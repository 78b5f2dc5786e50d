package mic

import (
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
)

// Bounds of events. Each occupies memory for minutes, so that repetitions are
// counted together, and as long as it waits to be sent.
const (
	eventRate    = 20 // a second
	normalBurst  = 1000
	warningBurst = 500
)

// recorder passes on as many events as the API server and our memory should bear.
// Those that say that all is well never take the room of warnings; and while there
// are many, only pods are told that all is well, and not what they are bound by.
type recorder struct {
	events.EventRecorder

	normal, warnings *rate.Limiter
	dropped          *prometheus.CounterVec
}

func newRecorder(to events.EventRecorder, metrics prometheus.Registerer) *recorder {
	r := &recorder{
		EventRecorder: to,
		normal:        rate.NewLimiter(eventRate, normalBurst),
		warnings:      rate.NewLimiter(eventRate, warningBurst),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "podid_mic_events_dropped_total", Help: "Events that were not sent since there were too many.",
		}, []string{"type"}),
	}
	for _, kind := range []string{corev1.EventTypeNormal, corev1.EventTypeWarning} {
		r.dropped.WithLabelValues(kind) // so that it is shown as 0
	}
	metrics.MustRegister(r.dropped)
	return r
}

// Eventf sends an event, or counts it.
func (r *recorder) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) {
	send := r.warnings.Allow
	if kind == corev1.EventTypeNormal {
		send = r.normal.Allow
		if about, ok := regarding.(*corev1.ObjectReference); ok && about.Kind != "Pod" && r.normal.Tokens() < normalBurst/2 {
			send = func() bool { return false }
		}
	}
	if !send() {
		r.dropped.WithLabelValues(kind).Inc()
		return
	}
	r.EventRecorder.Eventf(regarding, related, kind, reason, action, note, args...)
}
