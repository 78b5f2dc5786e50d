package nmi

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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

// TestAuditLineIsItsJSON compares the line with what its tags say.
func TestAuditLineIsItsJSON(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 67_000_000, time.FixedZone("", 3600))
	tests := map[string]auditLine{
		"an empty one": {Time: at},
		"all fields": {
			Time: at, Outcome: denied, Reason: reasonOrigin, Namespace: "team", Pod: "web", PodUID: "u", ServiceAccount: "s", IdentityNS: "ns",
			Identity: "blue", ClientID: "c", Source: "10.0.0.1", Resource: "https://vault.azure.net", TokenDigest: "d", OnHost: true, Error: "no",
		},
		"what a pod may try to write lines with": {
			Time: at, Resource: "r\"}\n{\"outcome\":\"hit\"}\x00\x7f\u2028\xff<&>\\", Error: "no pod has \"web\"",
		},
	}
	for name, line := range tests {
		t.Run(name, func(t *testing.T) {
			marshalled, err := json.Marshal(line)
			if err != nil {
				t.Fatal(err)
			}
			var got, want map[string]any
			b := line.append(nil)
			if err := errors.Join(json.Unmarshal(b, &got), json.Unmarshal(marshalled, &want)); err != nil {
				t.Fatalf("%v in %s", err, b)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("append() (-want +got):\n%s", diff)
			}
			if n := strings.Count(string(b), "\n"); n != 1 || !strings.HasSuffix(string(b), "}\n") {
				t.Errorf("%q is not one line", b)
			}
		})
	}
}
