package mic_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
)

// awaitAttached waits for the condition Attached of an AzureIdentity; the status
// "" is for none.
func (w *world) awaitAttached(name string, status metav1.ConditionStatus, reason, says string) {
	w.t.Helper()
	await(w, w.ns, &v1.AzureIdentityList{}, name+" to be Attached: "+string(status)+" "+reason, func(l *v1.AzureIdentityList) bool {
		i := slices.IndexFunc(l.Items, func(o v1.AzureIdentity) bool { return o.Name == name })
		c := meta.FindStatusCondition(l.Items[i].Status.Conditions, v1.ConditionAttached)
		if c == nil {
			return status == ""
		}
		return c.Status == status && c.Reason == reason && strings.Contains(c.Message, says)
	})
}

// awaitPods waits until an AzureIdentity and its binding of the same name count
// so many pods.
func (w *world) awaitPods(name string, pods int32) {
	w.t.Helper()
	await(w, w.ns, &v1.AzureIdentityList{}, "the pods of an identity", func(l *v1.AzureIdentityList) bool {
		return slices.ContainsFunc(l.Items, func(o v1.AzureIdentity) bool { return o.Name == name && o.Status.MatchedPods == pods })
	})
	await(w, w.ns, &v1.AzureIdentityBindingList{}, "the pods of a binding", func(l *v1.AzureIdentityBindingList) bool {
		return slices.ContainsFunc(l.Items, func(o v1.AzureIdentityBinding) bool { return o.Name == name && o.Status.MatchedPods == pods })
	})
}

func TestTheStatusSaysHowManyPodsAndWhetherAttached(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader"})})
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	release := w.hold()
	stop := w.run()
	objects := identity("reader")
	old := objects[1].(*v1.AzureIdentityBinding) //nolint:forcetypeassert // as identity makes them
	old.Spec.OldSelector, old.Spec.Selector = old.Spec.Selector, ""
	first := pod("one", "node-0", "reader")
	w.apply(w.ns, append(objects, first, pod("two", "node-0", "reader"))...)
	w.awaitPods("reader", 2)
	w.awaitAttached("reader", metav1.ConditionFalse, "Attaching", "on its way")
	release()
	w.awaitAttached("reader", metav1.ConditionTrue, "Attached", "")
	await(w, w.ns, &v1.AzureIdentityBindingList{}, "the condition of the other controller to stay", func(l *v1.AzureIdentityBindingList) bool {
		return meta.IsStatusConditionTrue(l.Items[0].Status.Conditions, v1.ConditionDeprecatedSpelling) && l.Items[0].Status.ObservedGeneration == 1
	})
	await(w, w.ns, &v1.AzureIdentityList{}, "the other controller to have seen the identity", func(l *v1.AzureIdentityList) bool {
		return l.Items[0].Status.ObservedGeneration == 1
	})
	stop()
	version := func() string {
		var o v1.AzureIdentity
		must(t, w.api.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: "reader"}, &o))
		return o.ResourceVersion
	}
	before := version()

	w.run()
	w.apply(w.ns, append(identity("other"), pod("three", "node-0", "other"))...)
	w.awaitPods("other", 1) // mic has looked at all
	if after := version(); after != before {
		t.Errorf("a restart wrote the status anew")
	}
	w.delete(first, pod("two", "", ""))
	w.awaitPods("reader", 0)
	w.awaitAttached("reader", "", "", "")
}

func TestASelectorThatIsNoneIsTold(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader"})})
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.run()
	objects := identity("reader")
	objects[1].SetAnnotations(map[string]string{v1.AnnotationPreAssign: "not, a == selector ("})
	w.apply(w.ns, objects...)
	condition := func(want bool) {
		t.Helper()
		await(w, w.ns, &v1.AzureIdentityBindingList{}, "the condition PreAssign", func(l *v1.AzureIdentityBindingList) bool {
			return meta.IsStatusConditionFalse(l.Items[0].Status.Conditions, v1.ConditionPreAssign) == want
		})
	}
	condition(true)
	w.awaitEvents("AzureIdentityBinding", "reader", "InvalidSelector")
	edit(w, &v1.AzureIdentityBinding{}, "reader", func(b *v1.AzureIdentityBinding) {
		b.Annotations = map[string]string{v1.AnnotationPreAssign: "*"}
	})
	w.awaitPatch(1)
	condition(false)
}

// TestEventsAreFoundWhereDescribeLooks asks as kubectl describe does: by the fields
// of the old events API.
func TestEventsAreFoundWhereDescribeLooks(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, nil)})
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.run()
	p := pod("web", "node-0", "reader")
	objects := append(identity("reader"), p)
	w.apply(w.ns, objects...)
	for kind, o := range map[string]client.Object{"Pod": p, "AzureIdentity": objects[0], "AzureIdentityBinding": objects[1]} {
		w.awaitEvents(kind, o.GetName(), "IdentityAssignFailed")
		var found corev1.EventList
		must(t, w.api.List(t.Context(), &found, client.InNamespace(w.ns), client.MatchingFields{
			"involvedObject.kind": kind, "involvedObject.name": o.GetName(),
			"involvedObject.namespace": w.ns, "involvedObject.uid": string(o.GetUID()),
		}))
		if len(found.Items) != 1 || found.Items[0].Message == "" || found.Items[0].Type != corev1.EventTypeWarning {
			t.Errorf("%d events about the %s, want one: %v", len(found.Items), kind, found.Items)
		}
	}
}
