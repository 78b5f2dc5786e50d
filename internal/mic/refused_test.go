package mic_test

import (
	"fmt"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
)

// twenty has a pod for each of 20 identities, of which one is bad, and waits until
// the others are there.
func (w *world) twenty(bad string) {
	w.t.Helper()
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	want := make(map[string]v1.AssignedState)
	for i := range 20 {
		name := fmt.Sprintf("id-%d", i)
		w.apply(w.ns, append(identity(name), pod("pod-"+name, "node-0", name))...)
		want["pod-"+name+"-"+w.ns+"-"+name] = v1.Assigned
	}
	want["pod-"+bad+"-"+w.ns+"-"+bad] = v1.Created
	w.run()
	w.awaitStates(want)
	if got := w.attached("pool"); len(got) != 19 || slices.Contains(got, bad) {
		w.t.Errorf("the scale set has %v", got)
	}
}

func TestOneBadIdentityHoldsUpNobody(t *testing.T) {
	var all []string
	for i := range 20 {
		all = append(all, fmt.Sprintf("id-%d", i))
	}
	t.Run("named", func(t *testing.T) {
		w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, slices.DeleteFunc(slices.Clone(all), func(n string) bool { return n == "id-7" }))})
		w.twenty("id-7")
		if got := w.patches(); got != 2 {
			t.Errorf("%d PATCHes, want 2", got)
		}
		w.awaitNote("Pod", "pod-id-7", "IdentityAssignFailed", "check that the identity exists")
		w.awaitNote("AzureIdentity", "id-7", "IdentityAssignFailed", "check that the identity exists")
	})
	t.Run("not permitted", func(t *testing.T) {
		s := seed([]string{"pool"}, all)
		s.Identities[3].NoPermission = true
		w := newWorld(t, azemu.Config{Seed: s})
		w.twenty("id-3")
		if got := w.patches(); got != 2 {
			t.Errorf("%d PATCHes, want 2", got)
		}
		w.awaitNote("AzureIdentity", "id-3", "IdentityAssignFailed", "Managed Identity Operator")
		w.awaitAttached("id-3", metav1.ConditionFalse, "RefusedByAzure", "az role assignment create --assignee MIC --role 'Managed Identity Operator' --scope "+identityID("id-3"))
		w.awaitAttached("id-4", metav1.ConditionTrue, "Attached", "")
	})
}

func TestARefusalWithoutANameIsBisected(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"a", "b", "c", "d"})})
	must(t, w.azure.SetFault(azemu.EndpointVMSSPatch, azemu.Fault{Status: 400, Code: "FailedIdentityOperation", Message: "something is wrong", Times: 1}))
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	want := make(map[string]v1.AssignedState)
	for _, name := range []string{"a", "b", "c", "d"} {
		w.apply(w.ns, append(identity(name), pod(name, "node-0", name))...)
		want[name+"-"+w.ns+"-"+name] = v1.Assigned
	}
	w.run()
	w.awaitStates(want)
	if got := w.patches(); got > 5 {
		t.Errorf("%d PATCHes, want one that is refused, and a half at a time", got)
	}
}
