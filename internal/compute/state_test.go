package compute_test

import (
	"testing"

	"github.com/podid-io/podid/internal/azemu"
)

func TestAMachineWithoutIdentityHasNone(t *testing.T) {
	for kind, target := range map[string]string{"VM": vmID, "scale set": setID} {
		t.Run(kind, func(t *testing.T) {
			_, c := start(t, azemu.Config{}, azemu.Assigned{})
			got, err := c.Get(t.Context(), scope(t, target))
			if err != nil {
				t.Fatal(err)
			}
			if got.User == nil || len(got.User) > 0 || got.ClientIDs == nil || got.System {
				t.Errorf("Get() = %+v, want no identity, in maps that are there", got)
			}
		})
	}
}

func TestAMachineMadeAnewHasAnotherID(t *testing.T) {
	for kind, test := range map[string]struct {
		id   string
		anew azemu.State
	}{
		"VM":        {vmID, azemu.State{VMs: []azemu.VM{{ID: vmID, VMID: "Another"}}}},
		"scale set": {setID, azemu.State{ScaleSets: []azemu.ScaleSet{{ID: setID, UniqueID: "Another"}}}},
	} {
		t.Run(kind, func(t *testing.T) {
			e, c := start(t, azemu.Config{}, azemu.Assigned{})
			of := scope(t, test.id)
			before, err := c.Get(t.Context(), of)
			if err != nil {
				t.Fatal(err)
			}
			if err := e.MergeState(test.anew); err != nil {
				t.Fatal(err)
			}
			after, err := c.Get(t.Context(), of)
			if err != nil {
				t.Fatal(err)
			}
			list, err := c.List(t.Context(), of.Kind, of.Subscription, of.ResourceGroup)
			if err != nil {
				t.Fatal(err)
			}
			if before.ID == "" || before.ID == after.ID || after.ID != "another" || list[of].ID != after.ID {
				t.Errorf("before %q, after %q, in a list %q, want the last two the same", before.ID, after.ID, list[of].ID)
			}
		})
	}
}
