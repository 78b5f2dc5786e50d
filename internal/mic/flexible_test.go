package mic_test

import (
	"slices"
	"testing"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
)

// flexibleSeed is a flexible scale set with two VMs.
func flexibleSeed() azemu.State {
	s := seed(nil, []string{"reader"})
	s.ScaleSets = []azemu.ScaleSet{{ID: setID("flex"), OrchestrationMode: azemu.Flexible}}
	s.VMs = []azemu.VM{{ID: vmID("flex_1"), ScaleSet: setID("flex")}, {ID: vmID("flex_2"), ScaleSet: setID("flex")}}
	return s
}

func TestTheMachinesOfAFlexibleScaleSetAreVirtualMachines(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: flexibleSeed()})
	w.apply("", node("flex000001", vmID("flex_1")), node("flex000002", vmID("flex_2"))) // nodes are named after the host
	w.run()
	p := pod("web", "flex000001", "reader")
	w.apply(w.ns, append(identity("reader"), p)...)
	w.awaitStates(map[string]v1.AssignedState{"web-" + w.ns + "-reader": v1.Assigned})
	s := w.azure.State()
	if len(s.VMs[0].Visible) != 1 || len(s.VMs[1].Visible) != 0 || len(s.ScaleSets[0].Identity.UserAssigned) != 0 {
		t.Errorf("the machines have %v and %v, and the scale set %v", s.VMs[0].Visible, s.VMs[1].Visible, s.ScaleSets[0].Identity.UserAssigned)
	}
	w.delete(p)
	w.awaitRecords(0)
	if got := w.azure.State().VMs[0].Visible; len(got) != 0 {
		t.Errorf("after its last pod the machine has %v", got)
	}
}

// What is attached to the scale set would reach no machine, and mic would say
// that it had.
func TestANodeThatTakesAFlexibleScaleSetForUniformIsTold(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: flexibleSeed()})
	w.apply("", node("flex000001", setID("flex")+"/virtualMachines/flex_1"))
	w.run()
	p := pod("web", "flex000001", "reader")
	w.apply(w.ns, append(identity("reader"), p)...)
	w.awaitNote("Pod", "web", "IdentityAssignFailed", "its orchestration mode is Flexible")
	w.awaitStates(map[string]v1.AssignedState{"web-" + w.ns + "-reader": v1.Created})
	if n := w.patches(); n != 0 {
		t.Errorf("%d PATCHes of the scale set", n)
	}
	w.delete(p)
	w.awaitStates(map[string]v1.AssignedState{})
	w.awaitRecords(0)
}

// clientOf is the client id of an identity in Azure.
func (w *world) clientOf(name string) string {
	w.t.Helper()
	all := w.azure.State().Identities
	i := slices.IndexFunc(all, func(i azemu.Identity) bool { return i.ID == identityID(name) })
	if i < 0 {
		w.t.Fatalf("there is no identity %s", name)
	}
	return all[i].ClientID
}
