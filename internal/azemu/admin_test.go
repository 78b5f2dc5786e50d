package azemu_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/podid-io/podid/internal/azemu"
)

// admin is a client of e's admin API, over loopback.
func admin(t *testing.T, e *azemu.Emulator) *azemu.Client {
	t.Helper()
	server := httptest.NewServer(e.Admin())
	c := azemu.NewClient(server.URL + "/")
	t.Cleanup(func() {
		c.CloseIdleConnections()
		server.Close()
	})
	return c
}

func TestClientState(t *testing.T) {
	t.Parallel()
	e := newEmulator(t, azemu.Config{Seed: withIdentities("", "one"), ARMDelay: time.Hour})
	c := admin(t, e)
	want, err := c.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(want.Apps) != 1 || want.Apps[0].Secrets != nil {
		t.Errorf("secrets can be read back: %v", want.Apps)
	}
	if diff := cmp.Diff([]string{identities + "one"}, want.ScaleSets[0].Visible); diff != "" {
		t.Errorf("seeded identities are there at once (-want +got):\n%s", diff)
	}
	node := azemu.Instance{InstanceID: "2", Name: "pool000002", Sources: []netip.Prefix{netip.MustParsePrefix("10.224.0.6/32")}}
	if err := c.MergeState(t.Context(), azemu.State{ScaleSets: []azemu.ScaleSet{{ID: strings.ToUpper(vmssID), Instances: []azemu.Instance{node}}}}); err != nil {
		t.Fatalf("merge an instance: %v", err)
	}
	got, err := c.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want.ScaleSets[0].Instances = append(want.ScaleSets[0].Instances, node)
	ignore := cmp.Options{cmpopts.IgnoreFields(azemu.Status{}, "ETag"), cmpopts.IgnoreFields(azemu.Instance{}, "VMID"), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}
	if diff := cmp.Diff(want, got, ignore); diff != "" {
		t.Errorf("state after the merge (-want +got):\n%s", diff)
	}
	if err := c.SetState(t.Context(), azemu.State{Tenant: tenant}); err != nil {
		t.Fatalf("replace the state: %v", err)
	}
	if got, _ = c.State(t.Context()); len(got.ScaleSets)+len(got.VMs)+len(got.Apps)+len(got.Identities) != 0 {
		t.Errorf("state after replacing it with nothing: %v", got)
	}
}

func TestAdminRefusesUnknownFields(t *testing.T) {
	t.Parallel()
	e := newEmulator(t, azemu.Config{})
	for _, target := range []string{"/state", "/faults/" + azemu.EndpointVMGet} {
		rec := httptest.NewRecorder()
		e.Admin().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodPut, target, strings.NewReader(`{"colour":"red"}`)))
		if rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), `colour`) {
			t.Errorf("PUT %s = %d %s, want 400 that names the field", target, rec.Code, rec.Body)
		}
	}
}

func TestSetStateForgetsTokens(t *testing.T) {
	t.Parallel()
	e := newEmulator(t, azemu.Config{Seed: withIdentities("", "one")})
	_, before := askIMDS(t, e, "pool000000", tokenQuery(""))
	if err := e.SetState(withIdentities("", "one")); err != nil {
		t.Fatal(err)
	}
	if _, after := askIMDS(t, e, "pool000000", tokenQuery("")); after["access_token"] == before["access_token"] {
		t.Error("a new state has the old state's token")
	}
}

func TestStateThatMakesNoSense(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		state azemu.State
		want  string
	}{
		"an id that is none":                {azemu.State{Identities: []azemu.Identity{{ID: "one"}}}, "want /subscriptions/"},
		"a VM with the id of a scale set":   {azemu.State{VMs: []azemu.VM{{ID: vmssID}}}, "microsoft.compute/virtualmachines"},
		"an identity that does not exist":   {azemu.State{VMs: []azemu.VM{{ID: vmID, Identity: &azemu.Assigned{UserAssigned: []string{identities + "ghost"}}}}}, "not among the identities"},
		"a type that does not go with it":   {azemu.State{VMs: []azemu.VM{{ID: vmID, Identity: &azemu.Assigned{Type: "UserAssigned"}}}}, "does not go with 0"},
		"an app without client id":          {azemu.State{Apps: []azemu.App{{}}}, "no clientId"},
		"an instance without a name":        {azemu.State{ScaleSets: []azemu.ScaleSet{{ID: vmssID, Instances: []azemu.Instance{{InstanceID: "9"}}}}}, "needs an instanceId and a name"},
		"two machines of the same name":     {azemu.State{VMs: []azemu.VM{{ID: vmID + "x"}, {ID: strings.Replace(vmID, group, "other", 1) + "X"}}}, "two machines are named"},
		"two machines with the same source": {azemu.State{VMs: []azemu.VM{{ID: vmID + "1", Sources: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/16")}}, {ID: vmID + "2", Sources: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}}}, "same source"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEmulator(t, azemu.Config{Seed: seed()})
			c := admin(t, e)
			before := e.State()
			for what, change := range map[string]func(context.Context, azemu.State) error{"merge": c.MergeState, "replace": c.SetState} {
				if err := change(t.Context(), tt.state); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%s: error = %v, want %q", what, err, tt.want)
				}
			}
			if diff := cmp.Diff(before, e.State()); diff != "" {
				t.Errorf("refused state changed something (-before +after):\n%s", diff)
			}
			if _, err := azemu.New(azemu.Config{Seed: tt.state}); err == nil {
				t.Error("New took it as a seed")
			}
		})
	}
}

func TestCountersAndLog(t *testing.T) {
	t.Parallel()
	w := start(t, azemu.Config{Seed: withIdentities("", "one")})
	c := admin(t, w.Emulator)
	askIMDS(t, w.Emulator, "pool000000", tokenQuery("client-1"))
	askIMDS(t, w.Emulator, "pool000001", tokenQuery("client-2"))
	if _, err := w.compute(t).NewVirtualMachinesClient().Get(t.Context(), group, "single", nil); err != nil {
		t.Fatal(err)
	}
	got, err := c.Counters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]azemu.Counter{
		azemu.EndpointIMDSToken:      {Calls: 2, Peak: 1, Status: map[int]int{200: 1, 400: 1}},
		azemu.EndpointEntraDiscovery: {Calls: 1, Peak: 1, Status: map[int]int{200: 1}},
		azemu.EndpointEntraToken:     {Calls: 1, Peak: 1, Status: map[int]int{200: 1}},
		azemu.EndpointVMGet:          {Calls: 1, Peak: 1, Status: map[int]int{200: 1}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
	events, err := c.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantEvents := []azemu.Event{
		{Endpoint: azemu.EndpointIMDSToken, Machine: "pool000000", Method: "GET", Path: "/metadata/identity/oauth2/token", Status: 200},
		{Endpoint: azemu.EndpointIMDSToken, Machine: "pool000001", Method: "GET", Path: "/metadata/identity/oauth2/token", Status: 400},
		{Endpoint: azemu.EndpointEntraDiscovery, Method: "GET", Path: "/" + tenant + "/v2.0/.well-known/openid-configuration", Status: 200},
		{Endpoint: azemu.EndpointEntraToken, Method: "POST", Path: "/" + tenant + "/oauth2/v2.0/token", Status: 200},
		{Endpoint: azemu.EndpointVMGet, Method: "GET", Path: vmID, Status: 200},
	}
	if diff := cmp.Diff(wantEvents, events, cmpopts.IgnoreFields(azemu.Event{}, "Time", "Duration")); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if err := c.ResetCounters(t.Context()); err != nil {
		t.Fatal(err)
	}
	if events, _ = c.Events(t.Context()); len(events) != 0 {
		t.Errorf("log after the reset: %v", events)
	}
	if got, _ = c.Counters(t.Context()); got[azemu.EndpointVMGet].Calls != 0 {
		t.Errorf("counters after the reset: %v", got)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	w := start(t, azemu.Config{Seed: withIdentities("", "one")})
	c := admin(t, w.Emulator)
	set := func(endpoint string, f azemu.Fault) {
		t.Helper()
		if err := c.SetFault(t.Context(), endpoint, f); err != nil {
			t.Fatal(err)
		}
	}
	vms := w.compute(t).NewVirtualMachinesClient()

	set(azemu.EndpointVMGet, azemu.Fault{Status: 429, RetryAfter: azemu.Duration(1500 * time.Millisecond), Code: "OperationNotAllowed", Message: "too many", Times: 2})
	for range 2 {
		_, err := vms.Get(t.Context(), group, "single", nil)
		checkARMError(t, err, 429, "OperationNotAllowed", "too many")
	}
	if _, err := vms.Get(t.Context(), group, "single", nil); err != nil {
		t.Errorf("after two times the fault is over: %v", err)
	}

	set(azemu.EndpointIMDSToken, azemu.Fault{Status: 410, RetryAfter: azemu.Duration(1500 * time.Millisecond)})
	for range 3 {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metadata/identity/oauth2/token", http.NoBody)
		rec := httptest.NewRecorder()
		w.IMDSOf("pool000000").ServeHTTP(rec, req)
		if rec.Code != 410 || rec.Header().Get("Retry-After") != "2" || !strings.Contains(rec.Body.String(), `"error":"Gone"`) {
			t.Errorf("fault = %d %v %s", rec.Code, rec.Header(), rec.Body)
		}
	}
	faults, err := c.Faults(t.Context())
	if diff := cmp.Diff(map[string][]azemu.Fault{azemu.EndpointIMDSToken: {{Status: 410, RetryAfter: azemu.Duration(1500 * time.Millisecond)}}}, faults); err != nil || diff != "" {
		t.Errorf("Faults() error %v (-want +got):\n%s", err, diff)
	}
	if err := c.ClearFault(t.Context(), azemu.EndpointIMDSToken); err != nil {
		t.Fatal(err)
	}
	if status, body := askIMDS(t, w.Emulator, "pool000000", tokenQuery("")); status != http.StatusOK {
		t.Errorf("after removing the fault: %d %v", status, body)
	}

	set(azemu.EndpointEntraToken, azemu.Fault{Status: 503, Code: "temporarily_unavailable", Message: "AADSTS90033: A transient error has occurred."})
	status, _, body := w.call(t, tokenRequest(t.Context(), t, w))
	if status != 503 || body["error"] != "temporarily_unavailable" || !strings.HasPrefix(body["error_description"].(string), "AADSTS90033: ") {
		t.Errorf("fault of Entra ID = %d %v", status, body)
	}
	if diff := cmp.Diff([]any{90033.0}, body["error_codes"]); diff != "" {
		t.Errorf("numbers of a fault of Entra ID (-want +got):\n%s", diff)
	}
}

func tokenRequest(ctx context.Context, t *testing.T, w world) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/"+tenant+"/oauth2/v2.0/token", strings.NewReader("grant_type=client_credentials"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return req
}

func TestFaultsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	c := admin(t, newEmulator(t, azemu.Config{}))
	tests := map[string]struct {
		endpoint string
		fault    azemu.Fault
		want     string
	}{
		"an endpoint that does not exist": {"arm.toaster.get", azemu.Fault{Status: 500}, "use one of arm.vm.get"},
		"a status that is none":           {azemu.EndpointVMGet, azemu.Fault{Status: 99}, "want a status"},
		"a negative delay":                {azemu.EndpointVMGet, azemu.Fault{Delay: -1}, "no negative delay"},
		"an effect without its answer":    {azemu.EndpointVMPatch, azemu.Fault{Effect: true}, "effect wants a status"},
		"an end that hangs":               {azemu.EndpointOperationEnd, azemu.Fault{Hang: true}, "it takes delay, status"},
		"a request that is half carried":  {azemu.EndpointVMPatch, azemu.Fault{Carried: 1}, "are for arm.operation.end"},
		"half a change":                   {azemu.EndpointOperationEnd, azemu.Fault{Carried: -2}, "carried is a number"},
		"a scope of the metadata service": {azemu.EndpointIMDSToken, azemu.Fault{Concerns: azemu.Concerns{Scope: vmID}}, "are for Resource Manager"},
		"an unknown verb":                 {azemu.EndpointVMPatch, azemu.Fault{Concerns: azemu.Concerns{Verb: "borrow"}}, "verb is attach or detach"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := c.SetFault(t.Context(), tt.endpoint, tt.fault); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("SetFault() error = %v, want %q", err, tt.want)
			}
		})
	}
}

// heard is a log handler that tells when a message with its text comes.
type heard struct {
	slog.Handler
	text string
	came chan struct{}
}

func hear(text string) heard {
	return heard{Handler: slog.DiscardHandler, text: text, came: make(chan struct{}, 1)}
}

func (h heard) Enabled(context.Context, slog.Level) bool { return true }

func (h heard) Handle(_ context.Context, r slog.Record) error {
	if r.Message == h.text {
		h.came <- struct{}{}
	}
	return nil
}

// hang starts a request with a body that a fault holds, and returns when it is held.
func hang(ctx context.Context, t *testing.T) (world, chan error) {
	t.Helper()
	held := hear("fault begins")
	w := start(t, azemu.Config{Log: slog.New(held)})
	if err := w.SetFault(azemu.EndpointEntraToken, azemu.Fault{Hang: true}); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	req := tokenRequest(ctx, t, w)
	go func() { // ends with the request
		resp, err := w.client.Do(req)
		if err == nil {
			err = resp.Body.Close()
		}
		answered <- err
	}()
	<-held.came
	select {
	case err := <-answered:
		t.Errorf("a hanging request was answered: %v", err)
	default:
	}
	return w, answered
}

func TestHangEndsWhenTheCallerLeaves(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	w, answered := hang(ctx, t)
	if n := w.Counters()[azemu.EndpointEntraToken].InFlight; n != 1 {
		t.Errorf("%d requests in flight, want 1", n)
	}
	cancel()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Errorf("error of the caller = %v, want canceled", err)
	}
	w.server.Close() // waits for the requests that the emulator still has
	want := azemu.Counter{Calls: 1, Peak: 1, Status: map[int]int{0: 1}}
	if diff := cmp.Diff(want, w.Counters()[azemu.EndpointEntraToken]); diff != "" {
		t.Errorf("counter (-want +got):\n%s", diff)
	}
}

// Close cuts the connections of hanging requests: a client sees an error.
func TestHangEndsWithTheEmulator(t *testing.T) {
	t.Parallel()
	w, answered := hang(t.Context(), t)
	w.Close()
	if err := <-answered; err == nil {
		t.Error("a request that was cut off looks answered")
	}
}

func TestClientCA(t *testing.T) {
	t.Parallel()
	e := newEmulator(t, azemu.Config{})
	got, err := admin(t, e).CA(t.Context())
	if err != nil || !bytes.Equal(got, e.CA()) || !bytes.HasPrefix(got, []byte("-----BEGIN CERTIFICATE-----")) {
		t.Errorf("CA() = %q, %v", got, err)
	}
}
