package mic

import (
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
)

func TestManyEventsAreNotAllSent(t *testing.T) { synctest.Test(t, manyEvents) } // in which no time passes

func manyEvents(t *testing.T) {
	sent := events.NewFakeRecorder(10_000)
	r := newRecorder(sent, prometheus.NewRegistry())
	tell := func(n int, kind, about string) (passed int) {
		before := len(sent.Events)
		for range n {
			r.Eventf(&corev1.ObjectReference{Kind: about, Name: "x"}, nil, kind, "Reason", "Action", "note")
		}
		return len(sent.Events) - before
	}
	want := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d were sent, want %d", what, got, want)
		}
	}
	want("bindings, while there are few", tell(100, corev1.EventTypeNormal, "AzureIdentityBinding"), 100)
	want("pods", tell(2000, corev1.EventTypeNormal, "Pod"), normalBurst-100)
	want("bindings, while there are many", tell(100, corev1.EventTypeNormal, "AzureIdentityBinding"), 0)
	want("warnings, whatever else there is", tell(2000, corev1.EventTypeWarning, "AzureIdentityBinding"), warningBurst)
	if n := testutil.ToFloat64(r.dropped.WithLabelValues(corev1.EventTypeWarning)); n < 1400 {
		t.Errorf("%v warnings were counted as dropped", n)
	}
}
