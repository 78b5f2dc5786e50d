package mic_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
)

// condition is what a test looks at.
type condition struct {
	Status          metav1.ConditionStatus
	Reason, Message string
	Current         bool // whether it speaks of the object as it is
}

func conditionOf(generation int64, list []metav1.Condition, name string) condition {
	c := meta.FindStatusCondition(list, name)
	if c == nil {
		return condition{}
	}
	return condition{c.Status, c.Reason, c.Message, c.ObservedGeneration == generation}
}

func (w *world) awaitCondition(o client.Object, list client.ObjectList, name string, want condition, read func() []metav1.Condition) {
	w.t.Helper()
	var got condition
	await(w, w.ns, list, o.GetName()+" to have "+name, func(client.ObjectList) bool {
		must(w.t, w.api.Get(w.t.Context(), client.ObjectKeyFromObject(o), o))
		got = conditionOf(o.GetGeneration(), read(), name)
		return got.Reason == want.Reason
	})
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("%s of %s (-want +got):\n%s", name, o.GetName(), diff)
	}
}

func TestOldSpellingsWorkAndAreNamed(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader"})})
	must(t, w.azure.MergeState(azemu.State{Identities: []azemu.Identity{{
		ID: "/subscriptions/" + subscription + "/resourcegroups/apps/providers/Microsoft.ManagedIdentity/userAssignedIdentities/reader",
	}}}))
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.run()
	w.applyFile(w.ns, "testdata/old-spelling.yaml")
	w.apply(w.ns, pod("web", "node-0", "reader"))
	w.awaitStates(map[string]v1.AssignedState{"web-" + w.ns + "-reader": v1.Assigned})

	id, binding, exception := &v1.AzureIdentity{}, &v1.AzureIdentityBinding{}, &v1.AzurePodIdentityException{}
	for o, name := range map[client.Object]string{id: "reader", binding: "reader", exception: "outside"} {
		o.SetNamespace(w.ns)
		o.SetName(name)
	}
	w.awaitCondition(id, &v1.AzureIdentityList{}, v1.ConditionDeprecatedSpelling, condition{
		metav1.ConditionTrue, "OldFieldNames",
		"spec.ResourceID is deprecated: write spec.resourceID; spec.ClientID is deprecated: write spec.clientID", true,
	}, func() []metav1.Condition { return id.Status.Conditions })
	w.awaitCondition(binding, &v1.AzureIdentityBindingList{}, v1.ConditionDeprecatedSpelling, condition{
		metav1.ConditionTrue, "OldFieldNames",
		"spec.AzureIdentity is deprecated: write spec.azureIdentity; spec.Selector is deprecated: write spec.selector", true,
	}, func() []metav1.Condition { return binding.Status.Conditions })
	exceptions := func() []metav1.Condition { return exception.Status.Conditions }
	w.awaitCondition(exception, &v1.AzurePodIdentityExceptionList{}, v1.ConditionDeprecatedSpelling, condition{
		metav1.ConditionTrue, "OldFieldNames", "spec.PodLabels is deprecated: write spec.podLabels", true,
	}, exceptions)
	w.awaitCondition(exception, &v1.AzurePodIdentityExceptionList{}, v1.ConditionEffective, condition{
		metav1.ConditionFalse, "NamespaceNotAllowed",
		"exceptions of namespace " + w.ns + " do not count: only those of kube-system, podid-system do (--exception-namespaces of mic and nmi)", true,
	}, exceptions)
	w.awaitEvents("AzurePodIdentityException", "outside", "NamespaceNotAllowed")

	within := &v1.AzurePodIdentityException{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "within"}, Spec: v1.AzurePodIdentityExceptionSpec{PodLabels: map[string]v1.LabelValue{"a": "b"}}}
	must(t, w.api.Create(t.Context(), within))
	t.Cleanup(func() { _ = w.api.Delete(context.WithoutCancel(t.Context()), within) })
	await(w, system, &v1.AzurePodIdentityExceptionList{}, "the exception to be looked at", func(l *v1.AzurePodIdentityExceptionList) bool {
		return len(l.Items) == 1 && l.Items[0].Status.ObservedGeneration == 1
	})
	must(t, w.api.Get(t.Context(), client.ObjectKeyFromObject(within), within))
	if diff := cmp.Diff(condition{metav1.ConditionTrue, "NamespaceAllowed", "pods of namespace " + system + " with one of the labels reach the metadata service as the node does", true},
		conditionOf(within.Generation, within.Status.Conditions, v1.ConditionEffective)); diff != "" {
		t.Errorf("Effective in an allowed namespace (-want +got):\n%s", diff)
	}

	var before v1.AzureAssignedIdentity
	key := client.ObjectKey{Namespace: w.ns, Name: "web-" + w.ns + "-reader"}
	must(t, w.api.Get(t.Context(), key, &before))
	edit(w, id, "reader", func(id *v1.AzureIdentity) { id.Spec = id.Spec.Canonical() }) // mended
	w.awaitCondition(id, &v1.AzureIdentityList{}, v1.ConditionDeprecatedSpelling, condition{}, func() []metav1.Condition { return id.Status.Conditions })
	if id.Status.ObservedGeneration != id.Generation {
		t.Errorf("observedGeneration %d of generation %d", id.Status.ObservedGeneration, id.Generation)
	}
	w.apply(w.ns, pod("later", "node-0", "reader")) // its coming through shows that mic has seen the mended one
	await(w, w.ns, &v1.AzureAssignedIdentityList{}, "a later pod to be Assigned", func(l *v1.AzureAssignedIdentityList) bool {
		return states(l)["later-"+w.ns+"-reader"] == v1.Assigned
	})
	var after v1.AzureAssignedIdentity
	must(t, w.api.Get(t.Context(), key, &after))
	if before.ResourceVersion != after.ResourceVersion {
		t.Error("the mended spelling, which grants the same, wrote the assigned identity anew")
	}

	generation := id.Generation
	edit(w, id, "reader", func(id *v1.AzureIdentity) {
		id.Spec.ClientID = "33333333-3333-3333-3333-333333333333" // as well spelled as before
	})
	await(w, w.ns, &v1.AzureIdentityList{}, "the edit to be observed", func(l *v1.AzureIdentityList) bool {
		return l.Items[0].Generation > generation && l.Items[0].Status.ObservedGeneration == l.Items[0].Generation
	})
}
