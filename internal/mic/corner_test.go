package mic_test

import (
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
	w.awaitRecords(0) // nobody on the scale set needs it any more
	w.delete(p)
	w.awaitStates(map[string]v1.AssignedState{})
	if got := w.attached("pool"); got != nil {
		t.Errorf("the scale set still has %v", got)
	}
}

func TestAScaleSetThatIsGoneIsForgotten(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader"})})
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.run()
	p := pod("web", "node-0", "reader")
	w.apply(w.ns, append(identity("reader"), p)...)
	w.awaitStates(map[string]v1.AssignedState{"web-" + w.ns + "-reader": v1.Assigned})
	must(t, w.azure.SetState(azemu.State{Apps: []azemu.App{{ClientID: "mic", Secrets: []string{"mic's secret"}}}}))
	w.delete(p)
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
