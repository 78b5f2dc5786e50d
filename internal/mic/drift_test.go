package mic_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/compute"
	"github.com/podid-io/podid/internal/mic"
	"github.com/podid-io/podid/internal/mic/assignment"
)

// listing is an Azure that lists scale sets, one by one.
type listing struct {
	assignment.Machines
	azure *azemu.Emulator
}

var _ assignment.Lister = listing{}

func (l listing) List(ctx context.Context, kind assign.Kind, subscription, resourceGroup string) (map[assign.Scope]compute.State, error) {
	all := make(map[assign.Scope]compute.State)
	for _, s := range l.azure.State().ScaleSets {
		scope, err := assign.ParseID(strings.ToLower(s.ID))
		if err != nil {
			return nil, err
		}
		if scope.Kind != kind || scope.Subscription != subscription || scope.ResourceGroup != resourceGroup {
			continue
		}
		if all[scope], err = l.Get(ctx, scope); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func TestWhatIsTakenOffBehindOurBackIsPutBack(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader", "writer"})})
	w.between = func(m assignment.Machines) assignment.Machines { return listing{m, w.azure} }
	w.edit = func(c *mic.Config) { c.DriftInterval = 300 * time.Millisecond }
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.run()
	p := pod("web", "node-0", "reader")
	w.apply(w.ns, append(identity("reader"), p)...)
	name := "web-" + w.ns + "-reader"
	w.awaitStates(map[string]v1.AssignedState{name: v1.Assigned})

	must(t,
		w.azure.SetFault(azemu.EndpointVMSSPatch, azemu.Fault{Status: 409, Code: "Conflict", Times: 1}), // so that it takes a second
		w.azure.MergeState(azemu.State{ScaleSets: []azemu.ScaleSet{{ID: setID("pool"), Identity: &azemu.Assigned{UserAssigned: []string{identityID("writer")}}}}}),
	)
	w.awaitStates(map[string]v1.AssignedState{name: v1.Created})
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
	w.between = func(m assignment.Machines) assignment.Machines { return listing{m, w.azure} }
	w.edit = func(c *mic.Config) { c.DriftInterval = 50 * time.Millisecond }
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.run()
	w.apply(w.ns, append(identity("reader"), pod("web", "node-0", "reader"))...)
	w.awaitStates(map[string]v1.AssignedState{"web-" + w.ns + "-reader": v1.Assigned})
	before := w.azure.Counters()[azemu.EndpointVMSSGet].Calls
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for w.azure.Counters()[azemu.EndpointVMSSGet].Calls < before+3 { // three lists
		select {
		case <-ctx.Done():
			t.Fatal("nothing was listed")
		case <-tick.C:
		}
	}
	if got := w.patches(); got != 1 {
		t.Errorf("%d PATCHes, want 1", got)
	}
}
