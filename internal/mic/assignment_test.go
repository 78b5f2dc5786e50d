package mic_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
)

// attached lists the names of the identities that a scale set has.
func (w *world) attached(set string) []string {
	w.t.Helper()
	for _, s := range w.azure.State().ScaleSets {
		if strings.EqualFold(s.ID, setID(set)) {
			var names []string
			for _, id := range s.Visible {
				names = append(names, id[strings.LastIndex(id, "/")+1:])
			}
			slices.Sort(names)
			return names
		}
	}
	w.t.Fatalf("there is no scale set %s", set)
	return nil
}

func (w *world) patches() int { return w.azure.Counters()[azemu.EndpointVMSSPatch].Calls }

// awaitStates waits until the assigned identities are in exactly these states.
func (w *world) awaitStates(want map[string]v1.AssignedState) {
	w.t.Helper()
	await(w, w.ns, &v1.AzureAssignedIdentityList{}, "the assigned identities to be as wanted", func(l *v1.AzureAssignedIdentityList) bool {
		return maps.Equal(states(l), want)
	})
}

// awaitRecords waits until there are n records, which is when ARM is done with
// what came last.
func (w *world) awaitRecords(n int) {
	w.t.Helper()
	await(w, system, &corev1.ConfigMapList{}, "the records", func(l *corev1.ConfigMapList) bool {
		found := 0
		for i := range l.Items {
			if strings.HasPrefix(l.Items[i].Name, "podid-scope-") {
				found++
			}
		}
		return found == n
	})
}

func (w *world) delete(objects ...client.Object) {
	w.t.Helper()
	for _, o := range objects {
		o.SetNamespace(w.ns)
		must(w.t, w.api.Delete(w.t.Context(), o, client.GracePeriodSeconds(0)))
	}
}

func TestAnIdentityComesAndGoesWithItsPods(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader", "foreign"})})
	must(t, w.azure.MergeState(azemu.State{ScaleSets: []azemu.ScaleSet{{
		ID: setID("pool"), Identity: &azemu.Assigned{Type: "SystemAssigned, UserAssigned", UserAssigned: []string{identityID("foreign")}},
	}}}))
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	release := w.hold()
	w.run()

	first := pod("web", "node-0", "reader")
	w.apply(w.ns, append(identity("reader"), first)...)
	name := "web-" + w.ns + "-reader"
	w.awaitStates(map[string]v1.AssignedState{name: v1.Created})
	if got := w.attached("pool"); !slices.Equal(got, []string{"foreign"}) {
		t.Errorf("before the operation is done the scale set has %v", got)
	}
	release()
	w.awaitStates(map[string]v1.AssignedState{name: v1.Assigned})
	if got := w.attached("pool"); !slices.Equal(got, []string{"foreign", "reader"}) {
		t.Errorf("when Assigned the scale set has %v", got)
	}
	w.awaitEvents("Pod", "web", "IdentityAssigned")
	w.awaitEvents("AzureIdentityBinding", "reader", "IdentityAssigned")

	w.apply(w.ns, pod("second", "node-0", "reader"))
	second := "second-" + w.ns + "-reader"
	w.awaitStates(map[string]v1.AssignedState{name: v1.Assigned, second: v1.Assigned})
	if got := w.patches(); got != 1 {
		t.Errorf("a second pod with an identity that is there made it %d PATCHes, want 1", got)
	}

	w.delete(first)
	w.awaitStates(map[string]v1.AssignedState{second: v1.Assigned})
	w.delete(pod("second", "", ""))
	w.awaitStates(map[string]v1.AssignedState{})
	w.awaitRecords(0)
	if got := w.attached("pool"); !slices.Equal(got, []string{"foreign"}) {
		t.Errorf("after the last pod the scale set has %v, want what was there before", got)
	}
	if got := w.azure.State().ScaleSets[0].Identity.Type; got != "SystemAssigned, UserAssigned" {
		t.Errorf("the type of the scale set's identity is now %q", got)
	}
	if got := w.patches(); got != 2 {
		t.Errorf("%d PATCHes in all, want 2", got)
	}
}

// awaitEvents waits for an event that kubectl describe would show.
func (w *world) awaitEvents(kind, name, reason string) {
	w.t.Helper()
	w.awaitNote(kind, name, reason, "")
}

// awaitNote waits for an event that says note among other things.
func (w *world) awaitNote(kind, name, reason, note string) {
	w.t.Helper()
	await(w, w.ns, &eventsv1.EventList{}, reason+" about "+kind+" "+name, func(l *eventsv1.EventList) bool {
		return slices.ContainsFunc(l.Items, func(e eventsv1.Event) bool {
			return e.Regarding.Kind == kind && e.Regarding.Name == name && e.Regarding.UID != "" && e.Reason == reason && strings.Contains(e.Note, note)
		})
	})
}

func TestWhatSomebodyElseAttachedStays(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader"})})
	must(t, w.azure.MergeState(azemu.State{ScaleSets: []azemu.ScaleSet{{
		ID: setID("pool"), Identity: &azemu.Assigned{UserAssigned: []string{identityID("reader")}},
	}}}))
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.run()
	p := pod("web", "node-0", "reader")
	w.apply(w.ns, append(identity("reader"), p)...)
	w.awaitStates(map[string]v1.AssignedState{"web-" + w.ns + "-reader": v1.Assigned})
	w.delete(p)
	w.awaitStates(map[string]v1.AssignedState{})
	w.awaitRecords(0)
	if got := w.attached("pool"); !slices.Equal(got, []string{"reader"}) || w.patches() != 0 {
		t.Errorf("the scale set has %v after %d PATCHes, want reader and none", got, w.patches())
	}
}

func TestAVirtualMachineOfItsOwn(t *testing.T) {
	s := seed(nil, []string{"reader"})
	s.VMs = []azemu.VM{{ID: vmID("single")}}
	w := newWorld(t, azemu.Config{Seed: s})
	w.apply("", node("single", strings.ToUpper(vmID("single"))))
	w.run()
	w.apply(w.ns, append(identity("reader"), pod("web", "single", "reader"))...)
	w.awaitStates(map[string]v1.AssignedState{"web-" + w.ns + "-reader": v1.Assigned})
	if got := w.azure.State().VMs[0].Visible; len(got) != 1 {
		t.Errorf("the virtual machine has %v, want reader", got)
	}
}

func TestAPodOfTheSameNameIsAnotherPod(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"a", "b"}, []string{"reader"})})
	w.apply("", node("node-a", setID("a")+"/virtualMachines/0"), node("node-b", setID("b")+"/virtualMachines/0"))
	w.run()
	name := "web-0-" + w.ns + "-reader"
	before := pod("web-0", "node-a", "reader")
	w.apply(w.ns, append(identity("reader"), before)...)
	w.awaitStates(map[string]v1.AssignedState{name: v1.Assigned})

	w.delete(before)
	after := pod("web-0", "node-b", "reader")
	w.apply(w.ns, after)
	await(w, w.ns, &v1.AzureAssignedIdentityList{}, "the object to be that of the new pod", func(l *v1.AzureAssignedIdentityList) bool {
		return len(l.Items) == 1 && l.Items[0].Spec.PodUID == string(after.UID) && l.Items[0].Status.Status == v1.Assigned
	})
	w.awaitRecords(1)
	if diff := cmp.Diff(map[string][]string{"a": nil, "b": {"reader"}}, map[string][]string{"a": w.attached("a"), "b": w.attached("b")}); diff != "" {
		t.Errorf("attached (-want +got):\n%s", diff)
	}
}

func TestOneSlowScopeDelaysNobodyElse(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"slow", "fast"}, []string{"reader"})})
	w.apply("", node("node-slow", setID("slow")+"/virtualMachines/0"), node("node-fast", setID("fast")+"/virtualMachines/0"))
	w.run()
	must(t, w.azure.SetFault(azemu.EndpointVMSSPatch, azemu.Fault{Hang: true, Times: 1}))
	w.apply(w.ns, append(identity("reader"), pod("one", "node-slow", "reader"))...)
	one, two := "one-"+w.ns+"-reader", "two-"+w.ns+"-reader"
	w.awaitCalls(azemu.EndpointVMSSPatch, 1) // which hangs
	w.apply(w.ns, pod("two", "node-fast", "reader"))
	w.awaitStates(map[string]v1.AssignedState{one: v1.Created, two: v1.Assigned})
}

func TestAFailureIsToldAndTriedAgain(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader"})})
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.run()
	must(t, w.azure.SetFault(azemu.EndpointVMSSPatch, azemu.Fault{Status: 409, Code: "Conflict", Times: 2}))
	w.apply(w.ns, append(identity("reader"), pod("web", "node-0", "reader"))...)
	w.awaitEvents("Pod", "web", "IdentityAssignFailed")
	w.awaitStates(map[string]v1.AssignedState{"web-" + w.ns + "-reader": v1.Assigned})
	if got := w.patches(); got != 3 {
		t.Errorf("%d PATCHes, want 3", got)
	}
}

func TestARestartWritesAndPatchesNothing(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader", "writer"})})
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	stop := w.run()
	p := pod("web", "node-0", "reader")
	w.apply(w.ns, append(append(identity("reader"), identity("writer")...), p)...)
	name := "web-" + w.ns + "-reader"
	w.awaitStates(map[string]v1.AssignedState{name: v1.Assigned})
	stop()
	var before v1.AzureAssignedIdentity
	must(t, w.api.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: name}, &before))
	w.azure.ResetCounters()

	w.run()
	w.apply(w.ns, pod("more", "node-0", "writer")) // its coming through shows that mic has looked
	more := "more-" + w.ns + "-writer"
	w.awaitStates(map[string]v1.AssignedState{name: v1.Assigned, more: v1.Assigned})
	var after v1.AzureAssignedIdentity
	must(t, w.api.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: name}, &after))
	if before.ResourceVersion != after.ResourceVersion || w.patches() != 1 {
		t.Errorf("the restart wrote the object anew, or more than the 1 PATCH of the new pod: %d", w.patches())
	}

	w.delete(p, pod("more", "", ""))
	w.awaitRecords(0) // what the process before had attached is still ours to detach
	if got := w.attached("pool"); got != nil {
		t.Errorf("after the last pod the scale set has %v", got)
	}
}
