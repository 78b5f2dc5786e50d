package azemu_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/internal/azemu"
)

// flexibleSeed is a flexible scale set with a VM.
func flexibleSeed() azemu.State {
	s := seed()
	s.ScaleSets = []azemu.ScaleSet{{ID: vmssID, OrchestrationMode: azemu.Flexible}}
	s.VMs[0].ScaleSet = vmssID
	return s
}

func TestAFlexibleScaleSetIsAModelForVMsToCome(t *testing.T) {
	t.Parallel()
	w := start(t, azemu.Config{Seed: flexibleSeed()})
	sets, vms := w.compute(t).NewVirtualMachineScaleSetsClient(), w.compute(t).NewVirtualMachinesClient()
	if _, err := update(t.Context(), sets, assign(add(one))); err != nil {
		t.Fatal(err)
	}
	if err := w.MergeState(azemu.State{VMs: []azemu.VM{{ID: vmID + "2", ScaleSet: strings.ToUpper(vmssID)}}}); err != nil {
		t.Fatal(err)
	}
	set, err := sets.Get(t.Context(), group, "pool", nil)
	if err != nil {
		t.Fatal(err)
	}
	if *set.Properties.OrchestrationMode != armcompute.OrchestrationModeFlexible || *set.SKU.Capacity != 2 || len(set.Identity.UserAssignedIdentities) != 1 {
		t.Errorf("scale set: %s, capacity %d, identities %v", *set.Properties.OrchestrationMode, *set.SKU.Capacity, set.Identity.UserAssignedIdentities)
	}
	for id, v := range set.Identity.UserAssignedIdentities {
		if v.ClientID != nil || v.PrincipalID != nil {
			t.Errorf("the scale set shows the ids of %s", id)
		}
	}
	vm, err := vms.Get(t.Context(), group, "single", nil)
	if err != nil || *vm.Properties.VirtualMachineScaleSet.ID != vmssID || vm.Identity != nil {
		t.Errorf("VM that was there: %v, identity %v", err, vm.Identity)
	}
	for machine, want := range map[string]int{"single": http.StatusBadRequest, "single2": http.StatusOK} {
		if status, body := askIMDS(t, w.Emulator, machine, tokenQuery("client-1")); status != want {
			t.Errorf("IMDS of %s = %d %v, want %d", machine, status, body, want)
		}
	}
	if diff := cmp.Diff(azemu.Flexible, w.State().ScaleSets[0].OrchestrationMode); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

func TestAFlexibleScaleSetHasNoSystemAssignedIdentity(t *testing.T) {
	t.Parallel()
	w := start(t, azemu.Config{Seed: flexibleSeed()})
	_, err := w.compute(t).NewVirtualMachineScaleSetsClient().BeginUpdate(t.Context(), group, "pool", armcompute.VirtualMachineScaleSetUpdate{
		Identity: &armcompute.VirtualMachineScaleSetIdentity{Type: new(armcompute.ResourceIdentityTypeSystemAssigned)},
	}, nil)
	checkARMError(t, err, 400, "BadRequest", "not supported")
}

func TestFlexibleStateThatMakesNoSense(t *testing.T) {
	t.Parallel()
	e := newEmulator(t, azemu.Config{Seed: seed()})
	for name, tt := range map[string]struct {
		state azemu.State
		want  string
	}{
		"a mode that is none":                            {azemu.State{ScaleSets: []azemu.ScaleSet{{ID: vmssID + "2", OrchestrationMode: "Loose"}}}, "orchestrationMode is"},
		"a uniform one made flexible":                    {azemu.State{ScaleSets: []azemu.ScaleSet{{ID: vmssID, OrchestrationMode: azemu.Flexible}}}, "it has instances"},
		"a flexible one with instances":                  {azemu.State{ScaleSets: []azemu.ScaleSet{{ID: vmssID + "2", OrchestrationMode: azemu.Flexible, Instances: []azemu.Instance{{InstanceID: "0", Name: "x"}}}}}, "are virtual machines"},
		"a flexible one with a system-assigned identity": {azemu.State{ScaleSets: []azemu.ScaleSet{{ID: vmssID + "2", OrchestrationMode: azemu.Flexible, Identity: &azemu.Assigned{Type: "SystemAssigned"}}}}, "no system-assigned"},
		"a VM of a uniform one":                          {azemu.State{VMs: []azemu.VM{{ID: vmID, ScaleSet: vmssID}}}, "no flexible scale set"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := e.MergeState(tt.state); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("MergeState() = %v, want %q", err, tt.want)
			}
		})
	}
}
