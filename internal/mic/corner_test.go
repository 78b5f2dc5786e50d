package mic_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/azemu"
)

func TestANodeThatGoesTakesItsObjectsWithIt(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader"})})
	n := node("node-0", setID("pool")+"/virtualMachines/0")
	w.apply("", n)
	w.run()
	p := pod("web", "node-0", "reader")
	w.apply(w.ns, append(identity("reader"), p)...)
	w.awaitStates(map[string]v1.AssignedState{"web-" + w.ns + "-reader": v1.Assigned})
	must(t, w.api.Delete(t.Context(), n))
	w.delete(p)
	w.awaitStates(map[string]v1.AssignedState{})
	w.awaitRecords(0) // nobody on the scale set needs it any more
	if got := w.attached("pool"); got != nil {
		t.Errorf("the scale set still has %v", got)
	}
}

func TestPodsOfALostNodeKeepTheirIdentity(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader", "writer", "third"})})
	lost := node("node-0", setID("pool")+"/virtualMachines/0")
	w.apply("", lost, node("node-1", setID("pool")+"/virtualMachines/1"))
	stop := w.run()
	p := pod("web", "node-0", "reader")
	w.apply(w.ns, append(identity("reader"), p)...)
	want := map[string]v1.AssignedState{"web-" + w.ns + "-reader": v1.Assigned}
	w.awaitStates(want)

	must(t, w.api.Delete(t.Context(), lost))
	w.apply(w.ns, append(identity("writer"), pod("second", "node-1", "writer"))...) // its coming through shows that mic has looked
	want["second-"+w.ns+"-writer"] = v1.Assigned
	w.awaitStates(want)
	if got := w.attached("pool"); !slices.Equal(got, []string{"reader", "writer"}) {
		t.Errorf("with the Node gone the scale set has %v", got)
	}
	stop()
	w.run() // knows it from what the process before has written
	w.apply(w.ns, append(identity("third"), pod("third", "node-1", "third"))...)
	want["third-"+w.ns+"-third"] = v1.Assigned
	w.awaitStates(want)
	if got := w.attached("pool"); !slices.Equal(got, []string{"reader", "third", "writer"}) {
		t.Errorf("after a restart the scale set has %v", got)
	}
}

func TestANodeThatNeverWasIsNamed(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed(nil, []string{"reader"})})
	w.run()
	w.apply(w.ns, append(identity("reader"), pod("web", "nowhere", "reader"))...)
	w.awaitNote("Pod", "web", "IdentityAssignFailed", "there is no Node object of that name")
}

func TestAScaleSetThatIsGoneIsForgotten(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader", "writer"})})
	n := node("node-0", setID("pool")+"/virtualMachines/0")
	w.apply("", n)
	w.run()
	p := pod("web", "node-0", "reader")
	w.apply(w.ns, append(append(identity("reader"), identity("writer")...), p)...)
	name, more := "web-"+w.ns+"-reader", "more-"+w.ns+"-writer"
	w.awaitStates(map[string]v1.AssignedState{name: v1.Assigned})
	must(t, w.azure.SetState(azemu.State{Apps: []azemu.App{{ClientID: "mic", Secrets: []string{"mic's secret"}}}}))

	second := pod("more", "node-0", "writer")
	w.apply(w.ns, second)
	w.awaitNote("Pod", "more", "IdentityAssignFailed", "404 ResourceNotFound")
	w.awaitStates(map[string]v1.AssignedState{name: v1.Assigned, more: v1.Created}) // a Node says that it is there
	w.awaitRecords(1)
	must(t, w.api.Delete(t.Context(), n))
	w.delete(p, second)
	w.awaitRecords(0)
}

func TestANodeOutsideAzureIsNamed(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed(nil, []string{"reader"})})
	w.apply("", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-0"}, Spec: corev1.NodeSpec{ProviderID: "kind://docker/node-0"}})
	w.run()
	w.apply(w.ns, append(identity("reader"), pod("web", "node-0", "reader"))...)
	w.awaitEvents("Pod", "web", "IdentityAssignFailed")
	w.awaitStates(map[string]v1.AssignedState{"web-" + w.ns + "-reader": v1.Created})
}

func TestAPodThatHasEndedLetsGo(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader"})})
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.run()
	p := pod("job", "node-0", "reader")
	w.apply(w.ns, append(identity("reader"), p)...)
	w.awaitStates(map[string]v1.AssignedState{"job-" + w.ns + "-reader": v1.Assigned})
	p.Status.Phase = corev1.PodSucceeded
	must(t, w.api.Status().Update(t.Context(), p))
	w.awaitStates(map[string]v1.AssignedState{})
	w.awaitRecords(0)
}

func TestWhatAADPodIdentityLeftIsTakenOverOrGoes(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader"})})
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.apply(w.ns, append(identity("reader"), pod("web", "node-0", "reader"))...)
	mine, gone := "web-"+w.ns+"-reader", "gone-"+w.ns+"-reader"
	for name, pod := range map[string]string{mine: "web", gone: "gone"} {
		w.apply(w.ns, &v1.AzureAssignedIdentity{
			ObjectMeta: metav1.ObjectMeta{
				Name: name, Labels: map[string]string{v1.LabelNodeName: "node-0"},
				Finalizers: []string{assign.LegacyFinalizer},
			},
			Spec: v1.AzureAssignedIdentitySpec{
				AzureIdentityRef: &v1.AzureIdentityRef{
					APIVersion: v1.GroupVersion.String(), Kind: "AzureIdentity",
					ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "reader"},
					Spec:       v1.AzureIdentitySpec{ResourceID: identityID("reader")},
				},
				AzureBindingRef: &v1.AzureBindingRef{
					APIVersion: v1.GroupVersion.String(), Kind: "AzureIdentityBinding",
					ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "reader"},
				},
				Pod: pod, PodNamespace: w.ns, NodeName: "node-0",
			},
			Status: v1.AzureAssignedIdentityStatus{Status: v1.Assigned, AvailableReplicas: 1},
		})
	}
	w.run()
	await(w, w.ns, &v1.AzureAssignedIdentityList{}, "one object, ours", func(l *v1.AzureAssignedIdentityList) bool {
		return len(l.Items) == 1 && l.Items[0].Name == mine && l.Items[0].Spec.PodUID != "" &&
			len(l.Items[0].Finalizers) == 0 && l.Items[0].Status.Status == v1.Assigned
	})
}
