package explain_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/explain"
)

// TestTheLabelGoesWhereItStays: a command for what takes one, words for the others.
func TestTheLabelGoesWhereItStays(t *testing.T) {
	for kind, want := range map[string]string{
		"":            "kubectl label pod -n team web --overwrite aadpodidbinding=web",
		"StatefulSet": "kubectl patch statefulset -n team owner ",
		"DaemonSet":   "kubectl patch daemonset -n team owner ",
		"ReplicaSet":  "kubectl patch replicaset -n team owner ",
		"Job":         "write the label aadpodidbinding: web into the template of the pod's Job",
		"Node":        "write the label aadpodidbinding: web into the manifest of the pod on node owner",
		"Workflow":    "write the label aadpodidbinding: web into what makes the pod, workflow owner",
	} {
		f := healthy()
		delete(f.Pod.Labels, v1.LabelBinding)
		if is := true; kind != "" {
			f.Pod.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: "owner", Controller: &is}}
		}
		r := explain.Chain(f)
		if fix := r.Step(explain.LabelStep).Fix; !strings.HasPrefix(fix, want) {
			t.Errorf("a pod of a %q: %s", kind, fix)
		}
	}
}
