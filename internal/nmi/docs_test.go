package nmi_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/token"
)

func TestEveryMetricIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	reference, err := os.ReadFile("../../docs/reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	nmi.NewMetrics(registry)
	up := func() bool { return true }
	nmi.RegisterState(registry, nmi.State{
		ViewAge: func() time.Duration { return 0 }, Tokens: func() token.Stats { return token.Stats{} }, Redirect: up, Canary: up,
	})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) == 0 {
		t.Fatal("nmi counts nothing")
	}
	for _, f := range families {
		if !strings.Contains(string(reference), "`"+f.GetName()+"`") {
			t.Errorf("docs/reference/metrics.md does not name %s: run make generate", f.GetName())
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if !strings.Contains(string(text), "`"+l.GetValue()+"`") {
					t.Errorf("docs/metrics.md does not explain %s=%q", l.GetName(), l.GetValue())
				}
			}
		}
	}
}
