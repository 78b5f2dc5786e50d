package mic_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/mic"
)

// edit changes an object of the API server.
func edit[T client.Object](w *world, o T, name string, change func(T)) {
	w.t.Helper()
	key := client.ObjectKey{Namespace: w.ns, Name: name}
	if _, ok := any(o).(*corev1.Node); ok {
		key.Namespace = ""
	}
	must(w.t, retry.RetryOnConflict(retry.DefaultBackoff, func() error { // mic writes too
		if err := w.api.Get(w.t.Context(), key, o); err != nil {
			return err
		}
		change(o)
		return w.api.Update(w.t.Context(), o)
	}))
}

// contains reports whether a text has all of the parts.
func contains(text string, parts ...string) bool {
	return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(text, p) })
}

func TestABindingPutsItsIdentityOnNodesInAdvance(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"apps", "system"}, []string{"reader"})})
	apps, system := node("node-a", setID("apps")+"/virtualMachines/0"), node("node-s", setID("system")+"/virtualMachines/0")
	apps.Labels = map[string]string{"agentpool": "apps"}
	w.apply("", apps, system)
	w.run()
	objects := identity("reader")
	objects[1].SetAnnotations(map[string]string{v1.AnnotationPreAssign: "agentpool in (apps, more)"})
	w.apply(w.ns, objects...)
	w.awaitPatch(1)
	w.awaitRecords(1)
	if a, s := w.attached("apps"), w.attached("system"); !slices.Equal(a, []string{"reader"}) || s != nil {
		t.Errorf("apps has %v and system has %v, want reader on apps alone", a, s)
	}

	w.apply(w.ns, pod("web", "node-a", "reader"))
	w.awaitStates(map[string]v1.AssignedState{"web-" + w.ns + "-reader": v1.Assigned})
	if got := w.patches(); got != 1 {
		t.Errorf("%d PATCHes with a pod, want none more than 1", got)
	}
	w.delete(pod("web", "", ""))
	w.awaitStates(map[string]v1.AssignedState{})

	edit(w, &corev1.Node{}, "node-s", func(n *corev1.Node) { n.Labels = map[string]string{"agentpool": "more"} })
	w.awaitPatch(2)
	w.awaitRecords(2)
	edit(w, &v1.AzureIdentityBinding{}, "reader", func(b *v1.AzureIdentityBinding) { b.Annotations = nil })
	w.awaitRecords(0)
	if a, s := w.attached("apps"), w.attached("system"); a != nil || s != nil {
		t.Errorf("apps has %v and system has %v, want none", a, s)
	}
}

func TestAnotherIdentityReplacesTheOneBeforeWhenItIsThere(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader", "writer"})})
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	stop := w.run()
	w.apply(w.ns, append(identity("reader"), pod("web", "node-0", "reader"))...)
	name := "web-" + w.ns + "-reader"
	w.awaitStates(map[string]v1.AssignedState{name: v1.Assigned})
	stop()

	release := w.hold()
	w.run()
	edit(w, &v1.AzureIdentity{}, "reader", func(i *v1.AzureIdentity) { i.Spec.ResourceID = identityID("writer") })
	await(w, system, &corev1.ConfigMapList{}, "the intent to attach the other", func(l *corev1.ConfigMapList) bool {
		return slices.ContainsFunc(l.Items, func(m corev1.ConfigMap) bool { return contains(m.Data["identities"], "writer", "Attaching") })
	})
	object := func() *v1.AzureAssignedIdentity {
		o := &v1.AzureAssignedIdentity{}
		must(t, w.api.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: name}, o))
		return o
	}
	before := object()
	if before.Status.Status != v1.Assigned || before.Spec.AzureIdentityRef.Spec.ResourceID != identityID("reader") {
		t.Errorf("until the other is there the object is %s for %s", before.Status.Status, before.Spec.AzureIdentityRef.Spec.ResourceID)
	}
	if got := w.attached("pool"); !slices.Equal(got, []string{"reader"}) {
		t.Errorf("until the other is there the scale set has %v", got)
	}
	release()
	await(w, w.ns, &v1.AzureAssignedIdentityList{}, "the object to be for the other", func(l *v1.AzureAssignedIdentityList) bool {
		o := l.Items[0]
		if o.Status.Status != v1.Assigned {
			t.Errorf("the object is %s", o.Status.Status)
		}
		return o.Spec.AzureIdentityRef.Spec.ResourceID == identityID("writer")
	})
	await(w, system, &corev1.ConfigMapList{}, "the one before to go", func(l *corev1.ConfigMapList) bool {
		return slices.ContainsFunc(l.Items, func(m corev1.ConfigMap) bool {
			return contains(m.Data["identities"], "writer") && !contains(m.Data["identities"], "reader")
		})
	})
	if got := w.attached("pool"); !slices.Equal(got, []string{"writer"}) {
		t.Errorf("in the end the scale set has %v", got)
	}
	if got := w.patches(); got != 3 {
		t.Errorf("%d PATCHes, want 3", got)
	}
}

func TestWorkloadsThatAreMadeAnewCostNoPatch(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader", "writer"})})
	w.edit = func(c *mic.Config) { c.KeepWarm = 0 } // as it is by default
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.run()
	w.apply(w.ns, append(identity("reader"), identity("writer")...)...)
	names := map[string]v1.AssignedState{}
	for _, name := range []string{"reader", "writer"} {
		w.apply(w.ns, pod(name, "node-0", name))
		names[name+"-"+w.ns+"-"+name] = v1.Assigned
	}
	w.awaitStates(names)
	before := w.patches()
	for range 3 {
		w.delete(pod("reader", "", ""), pod("writer", "", ""))
		w.awaitStates(map[string]v1.AssignedState{})
		w.apply(w.ns, pod("reader", "node-0", "reader"), pod("writer", "node-0", "writer"))
		w.awaitStates(names)
	}
	if got := w.patches(); got != before {
		t.Errorf("%d PATCHes more, want none", got-before)
	}
}
