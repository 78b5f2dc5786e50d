package mic_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
)

// annotate sets, or with an empty binding removes, the annotation of the world's
// namespace.
func (w *world) annotate(binding string) {
	w.t.Helper()
	value := `"` + binding + `"`
	if binding == "" {
		value = "null"
	}
	patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata": {"annotations": {"`+v1.AnnotationNamespaceBinding+`": `+value+`}}}`))
	must(w.t, w.api.Patch(w.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.ns}}, patch))
}

func TestANamespaceBindsItsPodsWithoutALabel(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader", "writer"})})
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.run()
	bare := func(name string) *corev1.Pod {
		p := pod(name, "node-0", "")
		p.Labels = nil
		return p
	}
	optedOut := bare("opted-out")
	optedOut.Labels = map[string]string{v1.LabelBinding: ""}
	w.apply(w.ns, append(append(identity("reader"), identity("writer")...), bare("plain"), optedOut, pod("own", "node-0", "writer"), pod("lost", "node-0", "nothing"))...)
	own := "own-" + w.ns + "-writer"
	w.awaitStates(map[string]v1.AssignedState{own: v1.Assigned})

	w.annotate("reader")
	plain := "plain-" + w.ns + "-reader"
	w.awaitStates(map[string]v1.AssignedState{own: v1.Assigned, plain: v1.Assigned})
	w.apply(w.ns, bare("later"))
	later := "later-" + w.ns + "-reader"
	w.awaitStates(map[string]v1.AssignedState{own: v1.Assigned, plain: v1.Assigned, later: v1.Assigned})
	w.awaitEvents("Pod", "plain", "IdentityAssigned")

	w.annotate("comes-later")
	w.awaitStates(map[string]v1.AssignedState{own: v1.Assigned})
	w.apply(w.ns, &v1.AzureIdentityBinding{ObjectMeta: metav1.ObjectMeta{Name: "comes-later"}, Spec: v1.AzureIdentityBindingSpec{AzureIdentity: "reader"}})
	w.awaitStates(map[string]v1.AssignedState{own: v1.Assigned, plain: v1.Assigned, later: v1.Assigned})

	w.annotate("")
	w.awaitStates(map[string]v1.AssignedState{own: v1.Assigned})
}
