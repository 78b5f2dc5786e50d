package compute_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/compute"
)

const subscription = "11111111-1111-1111-1111-111111111111"

func TestListReadsAGroupInAFewRequests(t *testing.T) {
	t.Parallel()
	e, c := start(t, azemu.Config{}, azemu.Assigned{Type: "SystemAssigned, UserAssigned", UserAssigned: []string{id("a")}}, "a")
	want := map[assign.Scope]bool{scope(t, vmID): true} // and whether it has the identity
	var more azemu.State
	for i := range 120 {
		more.VMs = append(more.VMs, azemu.VM{ID: fmt.Sprintf("%s-%d", vmID, i)})
		want[scope(t, more.VMs[i].ID)] = false
	}
	more.VMs = append(more.VMs, azemu.VM{ID: strings.Replace(vmID, "/Group/", "/Elsewhere/", 1) + "-elsewhere"})
	if err := e.MergeState(more); err != nil {
		t.Fatal(err)
	}
	states, err := c.List(t.Context(), assign.VM, subscription, "group")
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[assign.Scope]bool)
	for scope, s := range states {
		got[scope] = s.System && s.User[id("a")] && s.ETag != "" && s.Certain()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("List() (-want +got):\n%s", diff)
	}
	if calls := e.Counters()[azemu.EndpointVMList].Calls; calls != 3 {
		t.Errorf("%d requests for 121 machines, want 3", calls)
	}
	sets, err := c.List(t.Context(), assign.VMSS, subscription, "group")
	alone, getErr := c.Get(t.Context(), scope(t, setID))
	if err := errors.Join(err, getErr); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[assign.Scope]compute.State{scope(t, setID): alone}, sets); diff != "" || len(alone.ClientIDs) != 1 {
		t.Errorf("a scale set is not listed as it is read (-read +listed):\n%s", diff)
	}
}

func TestListSaysWhatItCouldNotList(t *testing.T) {
	t.Parallel()
	e, c := start(t, azemu.Config{}, azemu.Assigned{})
	if err := e.SetFault(azemu.EndpointVMSSList, azemu.Fault{Status: 403, Code: "AuthorizationFailed", Message: "no"}); err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[assign.Kind]string{
		assign.VMSS: "list scale sets of resource group group: give mic's identity the role Virtual Machine Contributor on resource group group of",
		"disks":     "list virtual machines of resource group group: identities can be attached to",
	} {
		_, err := c.List(t.Context(), kind, subscription, "group")
		if got, ok := errors.AsType[*compute.Error](err); !ok || !strings.HasPrefix(got.Error(), want) || got.Gone {
			t.Errorf("List() error = %v, want %q", err, want)
		}
	}
}
