package mic_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/compute"
	"github.com/podid-io/podid/internal/mic/assignment"
)

// awaitPatch waits until Azure has taken n PATCHes.
func (w *world) awaitPatch(n int) {
	w.t.Helper()
	w.awaitUntil(fmt.Sprintf("%d PATCHes", n), func() bool { return w.azure.Counters()[azemu.EndpointVMSSPatch].Status[200] >= n })
}

// awaitCalls waits until an endpoint of Azure was asked n times, answered or not.
func (w *world) awaitCalls(endpoint string, n int) {
	w.t.Helper()
	w.awaitUntil(fmt.Sprintf("%s to be asked %d times", endpoint, n), func() bool { return w.azure.Counters()[endpoint].Calls >= n })
}

// awaitUntil looks again and again: counters have no watch.
func (w *world) awaitUntil(what string, so func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-ctx.Done():
			w.t.Fatalf("waited in vain for: %s; Azure was asked: %+v", what, w.azure.Counters())
		case <-tick.C:
		}
	}
}

func TestARestartInTheMiddleOfAPatchClaimsNothing(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader"})})
	must(t, w.azure.SetFault(azemu.EndpointOperationEnd, azemu.Fault{Delay: azemu.Duration(time.Hour), Times: 1}))
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	stop := w.run()
	w.apply(w.ns, append(identity("reader"), pod("web", "node-0", "reader"))...)
	w.awaitPatch(1)
	stop()

	w.run()
	w.awaitNote("Pod", "web", "IdentityAssignFailed", "another operation is under way")
	name := "web-" + w.ns + "-reader"
	w.awaitStates(map[string]v1.AssignedState{name: v1.Created})
	again := seed([]string{"pool"}, []string{"reader"}) // ends the operation, without success
	again.Apps = []azemu.App{{ClientID: "mic", Secrets: []string{"mic's secret"}}}
	must(t, w.azure.SetState(again))
	w.awaitStates(map[string]v1.AssignedState{name: v1.Assigned})
	if got := w.attached("pool"); !slices.Equal(got, []string{"reader"}) {
		t.Errorf("when Assigned the scale set has %v", got)
	}
}

func TestAnOperationThatFailsUnseenIsBegunAgain(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader"})})
	must(t,
		w.azure.SetFault(azemu.EndpointOperationEnd, azemu.Fault{Delay: azemu.Duration(2 * time.Second), Code: "InternalError", Times: 1}),
		w.azure.SetFault(azemu.EndpointOperationGet, azemu.Fault{Status: 403, Code: "AuthorizationFailed"}),
	)
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.run()
	w.apply(w.ns, append(identity("reader"), pod("web", "node-0", "reader"))...)
	w.awaitStates(map[string]v1.AssignedState{"web-" + w.ns + "-reader": v1.Assigned})
	if got := w.attached("pool"); !slices.Equal(got, []string{"reader"}) || w.patches() != 2 {
		t.Errorf("when Assigned the scale set has %v after %d PATCHes, want reader after 2", got, w.patches())
	}
}

func TestARefusedPatchLeavesNoIntent(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader"})})
	must(t, w.azure.SetFault(azemu.EndpointVMSSPatch, azemu.Fault{Status: 403, Code: "AuthorizationFailed"}))
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	stop := w.run()
	p := pod("web", "node-0", "reader")
	w.apply(w.ns, append(identity("reader"), p)...)
	w.awaitEvents("Pod", "web", "IdentityAssignFailed")
	w.awaitRecords(0)
	stop()
	must(t, w.azure.MergeState(azemu.State{ScaleSets: []azemu.ScaleSet{{
		ID: setID("pool"), Identity: &azemu.Assigned{UserAssigned: []string{identityID("reader")}}, // by hand
	}}}))
	w.azure.ResetCounters()
	w.run()
	w.awaitStates(map[string]v1.AssignedState{"web-" + w.ns + "-reader": v1.Assigned})
	w.delete(p)
	w.awaitStates(map[string]v1.AssignedState{})
	w.awaitRecords(0)
	if got := w.attached("pool"); !slices.Equal(got, []string{"reader"}) || w.patches() != 0 {
		t.Errorf("the scale set has %v after %d PATCHes, want what was attached by hand and none", got, w.patches())
	}
}

func TestARefusalThatComesWhileMicIsStoppedLeavesNoIntent(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader"})})
	must(t, w.azure.SetFault(azemu.EndpointVMSSPatch, azemu.Fault{Status: 403, Code: "AuthorizationFailed"}))
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.hold()
	stop := w.run()
	w.apply(w.ns, append(identity("reader"), pod("web", "node-0", "reader"))...)
	w.awaitUntil("a change to be held", func() bool { return w.holds.Load() >= 1 }) // the record is there before mic knows that
	stop()
	if got := w.patches(); got != 1 {
		t.Fatalf("%d PATCHes, want 1", got)
	}
	w.awaitRecords(0)
	w.awaitHolder(false) // the Lease is given back, for another to lead at once
}

func TestOneRefusedObjectStopsNobody(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader", "writer"})})
	full := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "apps-full"}}
	w.apply("", full, node("node-0", setID("pool")+"/virtualMachines/0"))
	none := corev1.ResourceList{"count/azureassignedidentities.aadpodidentity.k8s.io": resource.MustParse("0")}
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "none"}, Spec: corev1.ResourceQuotaSpec{Hard: none}}
	w.apply(full.Name, quota)
	quota.Status = corev1.ResourceQuotaStatus{Hard: none, Used: none}
	must(t, w.api.Status().Update(t.Context(), quota))
	refused := pod("refused", "node-0", "writer")
	w.apply(full.Name, append(identity("writer"), refused)...)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		for _, o := range []client.Object{&corev1.Pod{}, &v1.AzureIdentityBinding{}, &v1.AzureIdentity{}, &corev1.ResourceQuota{}} {
			must(t, w.api.DeleteAllOf(ctx, o, client.InNamespace(full.Name), client.GracePeriodSeconds(0)))
		}
	})
	w.run()
	w.apply(w.ns, append(identity("reader"), pod("web", "node-0", "reader"))...)
	w.awaitStates(map[string]v1.AssignedState{"web-" + w.ns + "-reader": v1.Assigned})
	var list v1.AzureAssignedIdentityList
	must(t, w.api.List(t.Context(), &list, client.InNamespace(full.Name)))
	if len(list.Items) != 0 {
		t.Error("nothing was refused: the check above proves nothing")
	}
}

func TestARecordThatSomebodyElseWroteIsTakenUp(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader", "writer"})})
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.run()
	p := pod("web", "node-0", "reader")
	w.apply(w.ns, append(append(identity("reader"), identity("writer")...), p)...)
	name, more := "web-"+w.ns+"-reader", "more-"+w.ns+"-writer"
	w.awaitStates(map[string]v1.AssignedState{name: v1.Assigned})
	var list corev1.ConfigMapList
	must(t, w.api.List(t.Context(), &list, client.InNamespace(system), client.MatchingLabels{"app.kubernetes.io/managed-by": "podid"}))
	record := &list.Items[0]
	record.Data["identities"] = strings.ReplaceAll(record.Data["identities"], "Attached", "Found") // hands off
	must(t, w.api.Update(t.Context(), record))

	second := pod("more", "node-0", "writer")
	w.apply(w.ns, second)
	w.awaitStates(map[string]v1.AssignedState{name: v1.Assigned, more: v1.Assigned})
	w.delete(p, second)
	w.awaitStates(map[string]v1.AssignedState{})
	w.awaitRecords(0)
	if got := w.attached("pool"); !slices.Equal(got, []string{"reader"}) {
		t.Errorf("the scale set has %v, want reader, which somebody took from mic", got)
	}
}

// canceling is an Azure whose first answers are lost.
type canceling struct {
	assignment.Machines
	lost *atomic.Int32
}

func (c canceling) Get(ctx context.Context, scope assign.Scope) (compute.State, error) {
	if c.lost.Add(1) == 1 {
		return compute.State{}, &compute.Error{Scope: scope, Doing: "read", Reason: "the connection was given up", Err: context.Canceled}
	}
	return c.Machines.Get(ctx, scope)
}

func TestWhatOthersCancelIsAFailureLikeAny(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader"})})
	w.between = func(m assignment.Machines) assignment.Machines { return canceling{m, new(atomic.Int32)} }
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.run()
	w.apply(w.ns, append(identity("reader"), pod("web", "node-0", "reader"))...)
	w.awaitNote("Pod", "web", "IdentityAssignFailed", "the connection was given up")
	w.awaitStates(map[string]v1.AssignedState{"web-" + w.ns + "-reader": v1.Assigned})
}

func TestWithoutAResourceIDThereIsNothingToAttach(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, nil)})
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.run()
	objects := identity("reader")
	objects[0] = &v1.AzureIdentity{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		Spec:       v1.AzureIdentitySpec{Type: new(v1.UserAssignedMSI), ClientID: "client-reader"},
	}
	w.apply(w.ns, append(objects, pod("web", "node-0", "reader"))...)
	w.awaitNote("Pod", "web", "IdentityAssigned", "nothing to attach: no resourceID")
}

func TestTheNextLeaderTakesUpWhatIsUnderWay(t *testing.T) {
	w := newWorld(t, azemu.Config{ARMDelay: 5 * time.Second, Seed: seed([]string{"pool"}, []string{"reader", "writer"})})
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.apply(w.ns, append(append(identity("reader"), identity("writer")...), pod("web", "node-0", "reader"))...)
	first := w.run()
	w.awaitPatch(1)
	w.run() // stands by
	first()
	name, more := "web-"+w.ns+"-reader", "more-"+w.ns+"-writer"
	w.awaitStates(map[string]v1.AssignedState{name: v1.Assigned})
	if got := w.patches(); got != 1 {
		t.Errorf("%d PATCHes, want 1: the other leader sees what the first has begun", got)
	}
	w.apply(w.ns, pod("more", "node-0", "writer"))
	w.awaitStates(map[string]v1.AssignedState{name: v1.Assigned, more: v1.Assigned})
	w.delete(pod("web", "", ""), pod("more", "", ""))
	w.awaitRecords(0) // what the first has attached is ours to detach
	if got := w.attached("pool"); got != nil {
		t.Errorf("after the last pod the scale set has %v", got)
	}
}

func TestDetachingTheLastIdentityIsTriedAgain(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader"})})
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.run()
	p := pod("web", "node-0", "reader")
	w.apply(w.ns, append(identity("reader"), p)...)
	w.awaitStates(map[string]v1.AssignedState{"web-" + w.ns + "-reader": v1.Assigned})
	must(t, w.azure.SetFault(azemu.EndpointOperationEnd, azemu.Fault{Code: "InternalError", Times: 1}))
	w.delete(p)
	w.awaitRecords(0)
	if got := w.attached("pool"); len(got) > 0 {
		t.Errorf("the scale set still has %v", got)
	}
}
