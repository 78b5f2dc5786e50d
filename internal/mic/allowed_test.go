package mic_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
)

// allow sets the list of service accounts of an object of the world's namespace;
// "null" removes it.
func (w *world) allow(o client.Object, list string) {
	w.t.Helper()
	o.SetNamespace(w.ns)
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec": {"allowedServiceAccounts": `+list+`}}`))
	must(w.t, w.api.Patch(w.t.Context(), o, patch))
}

// TestAPodThatAListDoesNotNameGetsNothing has the pod next door copy the label of
// another that may use the identity.
func TestAPodThatAListDoesNotNameGetsNothing(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool", "other"}, []string{"reader"})})
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"), node("node-1", setID("other")+"/virtualMachines/0"))
	w.apply(w.ns, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "web"}})
	w.run()
	web, thief := pod("web", "node-0", "reader"), pod("thief", "node-1", "reader")
	web.Spec.ServiceAccountName = "web"
	id := &v1.AzureIdentity{ObjectMeta: metav1.ObjectMeta{Name: "reader"}}
	binding := &v1.AzureIdentityBinding{ObjectMeta: metav1.ObjectMeta{Name: "reader"}}
	objects := identity("reader")
	objects[0].(*v1.AzureIdentity).Spec.AllowedServiceAccounts = []string{"web"}
	w.apply(w.ns, append(objects, thief, web)...)
	webs, thiefs := "web-"+w.ns+"-reader", "thief-"+w.ns+"-reader"
	w.awaitStates(map[string]v1.AssignedState{webs: v1.Assigned})
	if got := w.attached("other"); len(got) != 0 {
		t.Errorf("the machine of the pod that is not named has %v", got)
	}
	before := w.object(webs)

	w.allow(id, `["web", "default"]`)
	w.awaitStates(map[string]v1.AssignedState{webs: v1.Assigned, thiefs: v1.Assigned})
	w.allow(binding, `["web"]`)
	w.awaitStates(map[string]v1.AssignedState{webs: v1.Assigned})
	w.allow(id, `["default"]`)
	w.awaitStates(map[string]v1.AssignedState{})
	w.allow(id, `null`)
	w.awaitStates(map[string]v1.AssignedState{webs: v1.Assigned})
	if lists := before.Spec.AzureIdentityRef.Spec.AllowedServiceAccounts; lists != nil {
		t.Errorf("what is attached carries %v, which says who may use it", lists)
	}
	if got := w.attached("pool"); !slices.Equal(got, []string{"reader"}) {
		t.Errorf("the machine of the pod that is named has %v", got)
	}
}

// TestAListThatChangesLeavesOthersAlone widens a list: what is attached for the pods
// that were named before is not written again.
func TestAListThatChangesLeavesOthersAlone(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader"})})
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.run()
	objects := identity("reader")
	objects[0].(*v1.AzureIdentity).Spec.AllowedServiceAccounts = []string{"default"}
	w.apply(w.ns, append(objects, pod("first", "node-0", "reader"))...)
	first := "first-" + w.ns + "-reader"
	w.awaitStates(map[string]v1.AssignedState{first: v1.Assigned})
	before := w.object(first).ResourceVersion

	w.allow(&v1.AzureIdentity{ObjectMeta: metav1.ObjectMeta{Name: "reader"}}, `["default", "web"]`)
	w.apply(w.ns, pod("second", "node-0", "reader"))
	w.awaitStates(map[string]v1.AssignedState{first: v1.Assigned, "second-" + w.ns + "-reader": v1.Assigned})
	if after := w.object(first).ResourceVersion; after != before {
		t.Errorf("the object was written again: version %s, then %s", before, after)
	}
}

// object is an assigned identity by name.
func (w *world) object(name string) *v1.AzureAssignedIdentity {
	w.t.Helper()
	var o v1.AzureAssignedIdentity
	must(w.t, w.api.Get(w.t.Context(), types.NamespacedName{Namespace: w.ns, Name: name}, &o))
	return &o
}
