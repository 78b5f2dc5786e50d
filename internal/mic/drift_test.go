package mic_test

import (
	"slices"
	"testing"
	"time"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/mic"
)

func TestWhatIsTakenOffBehindOurBackIsPutBack(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader", "writer"})})
	w.edit = func(c *mic.Config) { c.DriftInterval = 300 * time.Millisecond }
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.run()
	p := pod("web", "node-0", "reader")
	w.apply(w.ns, append(identity("reader"), p)...)
	name := "web-" + w.ns + "-reader"
	w.awaitStates(map[string]v1.AssignedState{name: v1.Assigned})

	must(t,
		w.azure.SetFault(azemu.EndpointVMSSPatch, azemu.Fault{Status: 409, Code: "Conflict"}), // so that it is seen
		w.azure.MergeState(azemu.State{ScaleSets: []azemu.ScaleSet{{ID: setID("pool"), Identity: &azemu.Assigned{UserAssigned: []string{identityID("writer")}}}}}),
	)
	w.awaitStates(map[string]v1.AssignedState{name: v1.Created})
	w.azure.ClearFault(azemu.EndpointVMSSPatch)
	w.awaitStates(map[string]v1.AssignedState{name: v1.Assigned})
	if got := w.attached("pool"); !slices.Equal(got, []string{"reader", "writer"}) {
		t.Errorf("the scale set has %v, want what was taken off, and what somebody else put there", got)
	}
	w.delete(p)
	w.awaitRecords(0)
	if got := w.attached("pool"); !slices.Equal(got, []string{"writer"}) {
		t.Errorf("after the last pod the scale set has %v, want what somebody else put there", got)
	}
}

func TestNothingIsDoneAboutAListThatIsAsItShouldBe(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader"})})
	w.edit = func(c *mic.Config) { c.DriftInterval = 50 * time.Millisecond }
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.run()
	w.apply(w.ns, append(identity("reader"), pod("web", "node-0", "reader"))...)
	w.awaitStates(map[string]v1.AssignedState{"web-" + w.ns + "-reader": v1.Assigned})
	reads := w.azure.Counters()[azemu.EndpointVMSSGet].Calls
	before := w.azure.Counters()[azemu.EndpointVMSSList].Calls
	w.awaitCalls(azemu.EndpointVMSSList, before+3)
	if got := w.azure.Counters()[azemu.EndpointVMSSGet].Calls - reads; got != 0 || w.patches() != 1 {
		t.Errorf("%d reads of the one, and %d PATCHes in all, want none and 1", got, w.patches())
	}
}
