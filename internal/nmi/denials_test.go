package nmi_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/nodeview"
	"github.com/podid-io/podid/internal/token"
)

// denials are the counts of podid_denials_total that are not 0.
func denials(t *testing.T, r prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "podid_denials_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			if n := m.GetCounter().GetValue(); n > 0 {
				out[m.GetLabel()[0].GetValue()] = n
			}
		}
	}
	return out
}

// counting has a server count into a registry of its own.
func counting(r prometheus.Registerer) func(*nmi.Config) {
	return func(c *nmi.Config) { c.Metrics = nmi.NewMetrics(r) }
}

func TestEachRequestWithoutTokenCountsOnce(t *testing.T) {
	excepted := func(f *fakeWorld) { f.found.Exception = &identity.Exception{Namespace: "kube-system", Name: "addons"} }
	tests := map[string]struct {
		path  string
		world func(*fakeWorld)
		want  map[string]float64
	}{
		"a token":                    {path: ask, want: map[string]float64{}},
		"a token of an exception":    {path: ask, world: excepted, want: map[string]float64{}},
		"a request without resource": {path: "/metadata/identity/oauth2/token", want: map[string]float64{"bad_request": 1}},
		"Azure is away":              {path: ask, world: func(f *fakeWorld) { f.err = errors.New("refused") }, want: map[string]float64{"unavailable": 1}},
		"Azure is away, for an exception": {path: ask, world: func(f *fakeWorld) {
			excepted(f)
			f.err = errors.New("refused")
		}, want: map[string]float64{"unavailable": 1}},
		"an exception without such an identity": {path: ask, world: func(f *fakeWorld) {
			excepted(f)
			f.err = &token.Error{Kind: token.NotThere, Err: errors.New("Identity not found")}
		}, want: map[string]float64{"unassigned": 1}},
		"Azure refuses":       {path: ask, world: func(f *fakeWorld) { f.err = &token.Error{Kind: token.Rejected, Err: errors.New("no")} }, want: map[string]float64{"rejected": 1}},
		"nobody that is here": {path: ask, world: func(f *fakeWorld) { f.viewErr = nodeview.ErrUnknown }, want: map[string]float64{"unknown_pod": 1}},
		"a neighbour":         {path: ask, world: func(f *fakeWorld) { f.origin.Interface = 8 }, want: map[string]float64{"origin": 1}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, r := newWorld(), prometheus.NewRegistry()
				if tc.world != nil {
					tc.world(w)
				}
				c := serve(t, w, nmi.Controller{}, counting(r))
				c.get(t, tc.path)
				if diff := cmp.Diff(tc.want, denials(t, r)); diff != "" {
					t.Errorf("podid_denials_total (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestExceptionWithoutSuchAnIdentityIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.found.Exception = &identity.Exception{Namespace: "kube-system", Name: "addons"}
		w.err = &token.Error{Kind: token.NotThere, Err: errors.New("Identity not found")}
		c := serve(t, w, nmi.Controller{})
		start := time.Now()
		status, body := c.get(t, ask+"&client_id=typo")
		if took := time.Since(start); status != 400 || body["error_description"] != "Identity not found: the metadata service of the node knows no such identity" || took != 0 {
			t.Errorf("answered %d %v after %s, want 400 at once", status, body, took)
		}
	})
}
