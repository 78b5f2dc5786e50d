package nmi

import (
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// flaky is a sink that fails while err is set, and counts what it takes.
type flaky struct {
	err  error
	took int
}

func (f *flaky) Write(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	f.took += len(p)
	return len(p), nil
}

// TestAuditRecoversWithItsSink loses a batch that is larger than the buffer, so
// that the error comes up in the middle of it.
func TestAuditRecoversWithItsSink(t *testing.T) {
	sink := &flaky{err: errors.New("disk full")}
	m := NewMetrics(prometheus.NewRegistry())
	a, err := NewAudit(AuditBuffered, sink, m)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.write(make([]auditLine, auditBatch)); err == nil {
		t.Error("a full disk went unnoticed")
	}
	if dropped := testutil.ToFloat64(m.dropped); dropped != auditBatch {
		t.Errorf("%v lines count as dropped, want %d", dropped, auditBatch)
	}
	sink.err = nil
	if err := a.write(make([]auditLine, 1)); err != nil || sink.took == 0 {
		t.Errorf("the sink works again: write() = %v with %d bytes written", err, sink.took)
	}
}

// TestAuditKeepsRoomForTokens queues refusals until they are dropped.
func TestAuditKeepsRoomForTokens(t *testing.T) {
	m := NewMetrics(prometheus.NewRegistry())
	sink := &flaky{}
	a, err := NewAudit(AuditBuffered, sink, m)
	if err != nil {
		t.Fatal(err)
	}
	record := func(n int, ans *answer) {
		for range n {
			if err := a.record("r", ans, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
	}
	record(auditQueue, &answer{outcome: denied, err: errTooMany})
	if dropped := testutil.ToFloat64(m.dropped); dropped != auditQueue/2 || len(a.waiting) != auditQueue/2 {
		t.Errorf("%v refusals were dropped and %d queued, want half of each", dropped, len(a.waiting))
	}
	record(auditQueue/2, &answer{outcome: hit})
	if dropped := testutil.ToFloat64(m.dropped); dropped != auditQueue/2 {
		t.Errorf("%v lines of tokens were dropped behind refusals", dropped-auditQueue/2)
	}
	record(1, &answer{outcome: hit})
	if dropped := testutil.ToFloat64(m.dropped); dropped != auditQueue/2+1 {
		t.Errorf("%v lines count as dropped, want %d", dropped, auditQueue/2+1)
	}
}
