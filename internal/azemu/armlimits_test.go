package azemu_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/internal/azemu"
)

func TestARMLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e, err := azemu.New(azemu.Config{ARMLimits: true, Seed: seed()})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		bearer := localBearer(t, e)
		ask := func(method, path, body string) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(t.Context(), method, path+"?api-version=2024-11-01", strings.NewReader(body))
			r.Header.Set("Authorization", bearer)
			rec := httptest.NewRecorder()
			e.Azure().ServeHTTP(rec, r)
			return rec
		}
		const body = `{"identity":{"type":"None"}}`
		for i := range 12 {
			if rec := ask(http.MethodPatch, vmssID, body); rec.Code != http.StatusOK {
				t.Fatalf("PATCH %d = %d %s", i+1, rec.Code, rec.Body)
			}
		}
		rec := ask(http.MethodPatch, strings.ToUpper(vmssID), body)
		want := http.Header{
			"Retry-After":                                  {"15"},
			"X-Ms-Ratelimit-Remaining-Resource":            {"Microsoft.Compute/UpdateVMScaleSetSubscriptionMaximum;1488", "Microsoft.Compute/UpdateVMScaleSetResource;0"},
			"X-Ms-Ratelimit-Remaining-Subscription-Writes": {"188"},
		}
		got := http.Header{}
		for name := range want {
			got[name] = rec.Header().Values(name)
		}
		if diff := cmp.Diff(want, got); rec.Code != http.StatusTooManyRequests || diff != "" {
			t.Errorf("PATCH 13 = %d, headers (-want +got):\n%s", rec.Code, diff)
		}
		if text := rec.Body.String(); !strings.Contains(text, `"OperationNotAllowed"`) || !strings.Contains(text, `\"operationGroup\":\"UpdateVMScaleSetResource\"`) {
			t.Errorf("it says %s", text)
		}
		if rec := ask(http.MethodPatch, vmID, body); rec.Code != http.StatusOK {
			t.Errorf("PATCH of another resource = %d", rec.Code)
		}
		time.Sleep(15 * time.Second)
		if rec := ask(http.MethodPatch, vmssID, body); rec.Code != http.StatusOK {
			t.Errorf("PATCH after Retry-After = %d", rec.Code)
		}
		for range 250 {
			ask(http.MethodGet, strings.TrimSuffix(identities, "/"), "")
		}
		rec = ask(http.MethodGet, vmID, "")
		if rec.Code != http.StatusTooManyRequests || !strings.Contains(rec.Body.String(), "SubscriptionRequestsThrottled") || rec.Header().Get("Retry-After") != "1" {
			t.Errorf("read 251 = %d %s, Retry-After %s", rec.Code, rec.Body, rec.Header().Get("Retry-After"))
		}
	})
}
