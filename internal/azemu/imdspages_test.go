package azemu_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podid-io/podid/internal/azemu"
)

// page gets a page of the metadata of pool000000.
func page(t *testing.T, e *azemu.Emulator, path string, query url.Values) (int, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path+"?"+query.Encode(), http.NoBody)
	r.Header.Set("Metadata", "true")
	w := httptest.NewRecorder()
	e.IMDSOf("pool000000").ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestIMDSPages(t *testing.T) {
	t.Parallel()
	s := withIdentities("", "one")
	s.ScaleSets[0].UserData = "c2VjcmV0"
	e := newEmulator(t, azemu.Config{Seed: s})
	version := url.Values{"api-version": {"2021-02-01"}}
	text := url.Values{"api-version": {"2021-02-01"}, "format": {"text"}}
	tests := map[string]struct {
		path  string
		query url.Values
		has   []string // keys to walk down
	}{
		"the instance has user data": {"/metadata/instance", version, []string{"compute", "userData"}},
		"and custom data":            {"/metadata/instance", version, []string{"compute", "customData"}},
		"and a network":              {"/metadata/instance", version, []string{"network", "interface"}},
		"the attested document":      {"/metadata/attested/document", version, []string{"signature"}},
		"its encoding":               {"/metadata/attested/document", version, []string{"encoding"}},
		"scheduled events":           {"/metadata/scheduledevents", version, []string{"Events"}},
		"the incarnation of events":  {"/metadata/scheduledevents", version, []string{"DocumentIncarnation"}},
		"the load balancer":          {"/metadata/loadbalancer", version, []string{"loadbalancer", "publicIpAddresses"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			status, body := page(t, e, tt.path, tt.query)
			var at any
			if err := json.Unmarshal([]byte(body), &at); err != nil || status != http.StatusOK {
				t.Fatalf("answer %d %s", status, body)
			}
			for _, key := range tt.has {
				object, _ := at.(map[string]any)
				if at = object[key]; at == nil {
					t.Fatalf("%s has no %s", body, key)
				}
			}
		})
	}
	if status, body := page(t, e, "/metadata/instance/compute/userData", text); status != http.StatusOK || body != "c2VjcmV0" {
		t.Errorf("user data as text: %d %q", status, body)
	}
	if status, _ := page(t, e, "/metadata/attested/document", nil); status != http.StatusBadRequest {
		t.Errorf("without api-version: %d, want 400", status)
	}
}

func TestIMDSLimitsHoldInAnySecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEmulator(t, azemu.Config{Seed: withIdentities("", "one"), IMDSLimits: true})
		ask := func(n int) (admitted int) {
			for range n {
				if status, _ := askIMDS(t, e, "pool000000", tokenQuery("")); status == http.StatusOK {
					admitted++
				}
			}
			return admitted
		}
		if n := ask(15); n != 15 {
			t.Errorf("%d of 15 admitted", n)
		}
		time.Sleep(900 * time.Millisecond)
		if n := ask(10); n != 5 {
			t.Errorf("%d of 10 admitted 0.9 s later, want what is left of the second", n)
		}
		time.Sleep(100 * time.Millisecond)
		if n := ask(20); n != 15 {
			t.Errorf("%d of 20 admitted 1 s later, want 15", n)
		}
		for i := range 7 {
			status, _ := page(t, e, "/metadata/instance", url.Values{"api-version": {"2021-02-01"}})
			if want := i < 5; (status == http.StatusOK) != want {
				t.Errorf("page %d within a second: %d", i, status)
			}
		}
	})
}
