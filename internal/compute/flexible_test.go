package compute_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/compute"
)

func TestAFlexibleScaleSetIsRefusedAndItsMachinesAreNot(t *testing.T) {
	t.Parallel()
	e, c := inMemory(t, azemu.Config{})
	flexible := setID + "-flexible"
	if err := e.MergeState(azemu.State{
		ScaleSets: []azemu.ScaleSet{{ID: flexible, OrchestrationMode: azemu.Flexible}},
		VMs:       []azemu.VM{{ID: vmID, ScaleSet: flexible}},
	}); err != nil {
		t.Fatal(err)
	}
	// As a node would name it whose cloud controller manager takes it for uniform.
	wrong, err := assign.ParseProviderID("azure://" + flexible + "/virtualMachines/0")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Get(t.Context(), wrong)
	got, ok := errors.AsType[*compute.Error](err)
	if !ok || got.Kind != compute.Unsupported || !got.Refused || got.Gone ||
		!strings.HasPrefix(got.Error(), "read scale set group/pool-flexible: its orchestration mode is Flexible") || !strings.Contains(got.Error(), "providerID") {
		t.Errorf("Get() of the scale set = %v", err)
	}
	_, err = c.Get(t.Context(), assign.Scope{})
	if got, ok := errors.AsType[*compute.Error](err); !ok || got.Kind != compute.Unsupported {
		t.Errorf("Get() outside Azure = %v", err)
	}
	sets, err := c.List(t.Context(), assign.VMSS, subscription, "group")
	if _, listed := sets[wrong]; listed || len(sets) != 1 || err != nil {
		t.Errorf("List() of scale sets = %v, %v, want the uniform one", sets, err)
	}
	vms, err := c.List(t.Context(), assign.VM, subscription, "group")
	if _, listed := vms[scope(t, vmID)]; !listed || err != nil {
		t.Errorf("List() of VMs = %v, %v, want the VM of the scale set", vms, err)
	}
	right, err := assign.ParseProviderID("azure://" + vmID)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Get(t.Context(), right)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Update(t.Context(), right, s, []string{id("a")}, nil); err != nil {
		t.Fatal(err)
	}
	if _, visible := see(e, vmID); cmp.Diff([]string{"a"}, visible) != "" {
		t.Errorf("the VM has %v", visible)
	}
}
