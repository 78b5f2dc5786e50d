package azemu_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/podid-io/podid/internal/azemu"
)

const (
	one = identities + "one"
	two = identities + "two"
)

// withNull is the body that attaches some identities and detaches others.
func withNull(attach, detach []string) armcompute.VirtualMachineScaleSetUpdate {
	ids := add(attach...)
	for _, id := range detach {
		ids[id] = nil
	}
	return assign(ids)
}

func TestAnOperationFailsInPart(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		has            []string
		attach, detach []string
		fault          azemu.Fault
		visible        []string
		says, saysNot  string
	}{
		"nothing is carried out": {
			attach: []string{one, two}, fault: azemu.Fault{Code: "InternalError"}, says: "fault set", saysNot: "/one",
		},
		"one of two is attached, and nothing named": {
			attach: []string{two, one}, fault: azemu.Fault{Code: "InternalError", Carried: 1}, visible: []string{one}, saysNot: "/two",
		},
		"one of two is attached, and the other named": {
			attach: []string{two, one}, fault: azemu.Fault{Carried: 1, Named: true}, visible: []string{one}, says: "/two", saysNot: "/one",
		},
		"the identities are attached, and then it fails": {
			attach: []string{one, two}, fault: azemu.Fault{Carried: -1}, visible: []string{one, two}, says: "InternalError",
		},
		"one of two is detached": {
			has: []string{one, two, identities + "forbidden"}, detach: []string{one, two}, fault: azemu.Fault{Carried: 1, Named: true},
			visible: []string{identities + "forbidden", two}, says: "/two", saysNot: "/one",
		},
		"one is attached and the other not detached": {
			has: []string{one}, attach: []string{two}, detach: []string{one}, fault: azemu.Fault{Carried: 1, Named: true}, visible: []string{one, two}, says: "/one",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := seed()
			s.ScaleSets[0].Identity = &azemu.Assigned{UserAssigned: tt.has}
			w := start(t, azemu.Config{Seed: s, ARMDelay: 10 * time.Millisecond})
			tt.fault.Times = 1
			if err := w.SetFault(azemu.EndpointOperationEnd, tt.fault); err != nil {
				t.Fatal(err)
			}
			sets := w.compute(t).NewVirtualMachineScaleSetsClient()
			_, err := update(t.Context(), sets, withNull(tt.attach, tt.detach))
			if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(tt.says)) || tt.saysNot != "" && strings.Contains(err.Error(), tt.saysNot) {
				t.Errorf("error = %v, want one with %q", err, tt.says)
			}
			got := w.State().ScaleSets[0]
			if diff := cmp.Diff(tt.visible, got.Visible, cmpopts.EquateEmpty()); diff != "" || got.ProvisioningState != "Failed" {
				t.Errorf("%s, machines know (-want +got):\n%s", got.ProvisioningState, diff)
			}
			if _, err := update(t.Context(), sets, withNull(tt.attach, nil)); err != nil {
				t.Errorf("the same again: %v", err)
			}
		})
	}
}

func TestFaultsConcernSomeRequests(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		endpoint string
		fault    azemu.Fault
		want     []int // status of: PATCH that attaches one, PATCH that detaches one, GET
	}{
		"all":                     {azemu.EndpointVMSSPatch, azemu.Fault{}, []int{418, 418, 200}},
		"the second":              {azemu.EndpointVMSSPatch, azemu.Fault{After: 1}, []int{200, 418, 200}},
		"this scope in any case":  {azemu.EndpointVMSSPatch, azemu.Fault{Concerns: azemu.Concerns{Scope: strings.ToUpper(vmssID)}}, []int{418, 418, 200}},
		"another scope":           {azemu.EndpointVMSSPatch, azemu.Fault{Concerns: azemu.Concerns{Scope: vmssID + "x"}}, []int{200, 200, 200}},
		"this identity":           {azemu.EndpointVMSSPatch, azemu.Fault{Concerns: azemu.Concerns{Identity: strings.ToUpper(one)}}, []int{418, 418, 200}},
		"another identity":        {azemu.EndpointVMSSPatch, azemu.Fault{Concerns: azemu.Concerns{Identity: two}}, []int{200, 200, 200}},
		"what attaches":           {azemu.EndpointVMSSPatch, azemu.Fault{Concerns: azemu.Concerns{Verb: azemu.VerbAttach}}, []int{418, 200, 200}},
		"what detaches it":        {azemu.EndpointVMSSPatch, azemu.Fault{Concerns: azemu.Concerns{Verb: azemu.VerbDetach, Identity: one}}, []int{200, 418, 200}},
		"what detaches another":   {azemu.EndpointVMSSPatch, azemu.Fault{Concerns: azemu.Concerns{Verb: azemu.VerbDetach, Identity: two}}, []int{200, 200, 200}},
		"reads of this scope":     {azemu.EndpointVMSSGet, azemu.Fault{Concerns: azemu.Concerns{Scope: vmssID}}, []int{200, 200, 418}},
		"reads are no attachment": {azemu.EndpointVMSSGet, azemu.Fault{Concerns: azemu.Concerns{Verb: azemu.VerbAttach}}, []int{200, 200, 200}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, azemu.Config{})
			tt.fault.Status = http.StatusTeapot
			if err := w.SetFault(tt.endpoint, tt.fault); err != nil {
				t.Fatal(err)
			}
			if tt.want[0] != http.StatusOK && tt.want[1] != http.StatusOK { // there must be something to detach
				s := seed()
				s.ScaleSets[0].Identity = &azemu.Assigned{UserAssigned: []string{one}}
				if err := w.SetState(s); err != nil {
					t.Fatal(err)
				}
			}
			got := []int{
				w.ask(t, http.MethodPatch, vmssID, `{"identity":{"type":"UserAssigned","userAssignedIdentities":{"`+one+`":{}}}}`),
				w.ask(t, http.MethodPatch, vmssID, `{"identity":{"type":"None"}}`),
				w.ask(t, http.MethodGet, vmssID, ""),
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("statuses (-want +got):\n%s", diff)
			}
		})
	}
}

// ask is the status of one request to Resource Manager, 0 where none came.
func (w world) ask(t *testing.T, method, path, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.url+path+"?api-version=2024-11-01", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", w.bearer(t))
	resp, err := w.client.Do(req)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close() // the status is enough
	return resp.StatusCode
}

func TestTheFirstFaultThatConcernsIt(t *testing.T) {
	t.Parallel()
	w := start(t, azemu.Config{})
	c := admin(t, w.Emulator)
	for _, f := range []azemu.Fault{
		{Status: 501, Times: 1, Concerns: azemu.Concerns{Scope: vmssID}},
		{Status: 502, Times: 2, Concerns: azemu.Concerns{Scope: strings.ToUpper(vmID)}},
		{Status: 503, Times: 1, Concerns: azemu.Concerns{Scope: vmID}},
	} {
		if err := c.AddFault(t.Context(), azemu.EndpointVMGet, f); err != nil {
			t.Fatal(err)
		}
	}
	var got []int
	for range 4 {
		got = append(got, w.ask(t, http.MethodGet, vmID, ""))
	}
	if diff := cmp.Diff([]int{502, 502, 503, 200}, got); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	if faults, err := c.Faults(t.Context()); err != nil || len(faults[azemu.EndpointVMGet]) != 1 {
		t.Errorf("left are %v, %v", faults, err)
	}
}

func TestTheAnswerIsLost(t *testing.T) {
	t.Parallel()
	const attach = `{"identity":{"type":"UserAssigned","userAssignedIdentities":{"` + one + `":{}}}}`
	for name, tt := range map[string]struct {
		fault  azemu.Fault
		status int
		effect bool
		want   azemu.ScopeCounter
	}{
		"500 before the effect": {azemu.Fault{Status: 500}, 500, false, azemu.ScopeCounter{Patches: 1, Refused: map[string]int{"InternalServerError": 1}}},
		"500 after the effect": {azemu.Fault{Status: 500, Effect: true}, 500, true, azemu.ScopeCounter{
			Patches: 1, Accepted: 1, Refused: map[string]int{"InternalServerError": 1}, Operations: map[string]int{"Succeeded": 1},
		}},
		"cut off before the effect": {azemu.Fault{Cut: true}, 0, false, azemu.ScopeCounter{Patches: 1, Refused: map[string]int{"none": 1}}},
		"cut off after the effect": {azemu.Fault{Cut: true, Effect: true}, 0, true, azemu.ScopeCounter{
			Patches: 1, Accepted: 1, Refused: map[string]int{"none": 1}, Operations: map[string]int{"Succeeded": 1},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, azemu.Config{})
			tt.fault.Times = 1
			if err := w.SetFault(azemu.EndpointVMSSPatch, tt.fault); err != nil {
				t.Fatal(err)
			}
			if got := w.ask(t, http.MethodPatch, vmssID, attach); got != tt.status {
				t.Errorf("status %d, want %d", got, tt.status)
			}
			w.server.Close() // waits for the requests that the emulator still has
			if got := w.State().ScaleSets[0].Visible; (len(got) == 1) != tt.effect {
				t.Errorf("machines know %v", got)
			}
			got := w.ScopeCounters()[strings.ToLower(vmssID)]
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("counter (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPollingIsCutOff(t *testing.T) {
	t.Parallel()
	w := start(t, azemu.Config{ARMDelay: 50 * time.Millisecond})
	if err := w.SetFault(azemu.EndpointOperationGet, azemu.Fault{Cut: true, Concerns: azemu.Concerns{Scope: vmssID, Identity: one}}); err != nil {
		t.Fatal(err)
	}
	sets := w.compute(t).NewVirtualMachineScaleSetsClient()
	if _, err := update(t.Context(), sets, assign(add(one))); err == nil {
		t.Error("an operation of which nobody heard the end looks done")
	}
	if _, err := update(t.Context(), sets, assign(add(two))); err != nil {
		t.Errorf("an operation about another identity: %v", err)
	}
}
