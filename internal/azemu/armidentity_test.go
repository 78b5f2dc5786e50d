package azemu_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/internal/azemu"
)

// arm sends one request to Resource Manager.
func (w world) arm(t *testing.T, method, url, body string) (int, http.Header, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", w.bearer(t))
	return w.call(t, req)
}

func TestIdentityLifecycle(t *testing.T) {
	t.Parallel()
	w := start(t, azemu.Config{Seed: withIdentities("", "one")})
	const version = "?api-version=2024-11-30"
	elsewhere := strings.Replace(identities, group, "elsewhere", 1)
	for _, id := range []string{identities + "new", elsewhere + "new"} {
		if status, _, body := w.arm(t, http.MethodPut, w.url+id+version, `{"location":"westus"}`); status != http.StatusCreated {
			t.Fatalf("PUT %s = %d %v", id, status, body)
		}
	}
	status, _, made := w.arm(t, http.MethodGet, w.url+strings.ToUpper(identities+"new")+version, "")
	again, _, same := w.arm(t, http.MethodPut, w.url+identities+"new"+version, `{"location":"westus"}`)
	if diff := cmp.Diff(made, same); status != http.StatusOK || again != http.StatusOK || diff != "" {
		t.Errorf("a second PUT = %d changes the identity (-before +after):\n%s", again, diff)
	}
	if p := made["properties"].(map[string]any); p["clientId"] == "" || p["principalId"] == p["clientId"] || p["tenantId"] != tenant {
		t.Errorf("identity = %v", made)
	}
	_, _, list := w.arm(t, http.MethodGet, w.url+strings.TrimSuffix(elsewhere, "/")+version, "")
	var ids []any
	for _, i := range list["value"].([]any) {
		ids = append(ids, i.(map[string]any)["id"])
	}
	if diff := cmp.Diff([]any{elsewhere + "new"}, ids); diff != "" {
		t.Errorf("identities of the other group (-want +got):\n%s", diff)
	}

	if status, _, _ := w.arm(t, http.MethodDelete, w.url+identities+"one"+version, ""); status != http.StatusOK {
		t.Errorf("DELETE = %d, want 200", status)
	}
	if status, _, _ := w.arm(t, http.MethodGet, w.url+identities+"one"+version, ""); status != http.StatusNotFound {
		t.Errorf("GET of a deleted identity = %d, want 404", status)
	}
	if status, body := askIMDS(t, w.Emulator, "pool000000", tokenQuery("client-1")); status != http.StatusBadRequest {
		t.Errorf("IMDS gives a token of a deleted identity: %d %v", status, body)
	}
	_, _, set := w.arm(t, http.MethodGet, w.url+vmssID+version, "")
	if listed := set["identity"].(map[string]any)["userAssignedIdentities"].(map[string]any); len(listed) != 1 {
		t.Errorf("a deleted identity stays listed where it was assigned, got %v", listed)
	}
}

// The URLs of a PATCH's headers can be followed by clients of either kind.
func TestOperationURLs(t *testing.T) {
	t.Parallel()
	const body = `{"identity":{"type":"UserAssigned","userAssignedIdentities":{"` + identities + `one":{}}}}`
	type answer struct {
		Status  int
		State   any // of the operation
		Monitor int
	}
	tests := map[string]struct {
		delay time.Duration
		fault *azemu.Fault
		want  answer
	}{
		"in flight": {delay: time.Hour, want: answer{200, "InProgress", 202}},
		"done":      {want: answer{200, "Succeeded", 200}},
		"failed":    {fault: &azemu.Fault{Code: "Broken"}, want: answer{200, "Failed", 409}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, azemu.Config{ARMDelay: tt.delay, RetryAfter: 1500 * time.Millisecond})
			if tt.fault != nil {
				if err := w.SetFault(azemu.EndpointOperationEnd, *tt.fault); err != nil {
					t.Fatal(err)
				}
			}
			_, header, _ := w.arm(t, http.MethodPatch, w.url+vmID+"?api-version=2024-11-01", body)
			var got answer
			var operation map[string]any
			var retry http.Header
			got.Status, retry, operation = w.arm(t, http.MethodGet, header.Get("Azure-AsyncOperation"), "")
			got.State = operation["status"]
			var monitor http.Header
			got.Monitor, monitor, _ = w.arm(t, http.MethodGet, header.Get("Location"), "")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
			if inFlight := tt.delay > 0; (retry.Get("Retry-After") == "2") != inFlight || (monitor.Get("Location") == header.Get("Location")) != inFlight {
				t.Errorf("Retry-After %q, Location %q", retry.Get("Retry-After"), monitor.Get("Location"))
			}
			if (operation["endTime"] == nil) != (tt.delay > 0) || (operation["error"] != nil) != (tt.fault != nil) {
				t.Errorf("operation = %v", operation)
			}
		})
	}
}
