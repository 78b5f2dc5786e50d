package explain_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podid-io/podid/internal/explain"
)

func TestLeftOut(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", Labels: map[string]string{"os": "linux", "size": "3"}}}
	affinity := func(terms ...corev1.NodeSelectorTerm) corev1.PodSpec {
		return corev1.PodSpec{Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
		}}}
	}
	expression := func(key string, operator corev1.NodeSelectorOperator, values ...string) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: operator, Values: values}}}
	}
	field := func(name string) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{name}}}}
	}
	gpu := corev1.Taint{Key: "gpu", Value: "yes", Effect: corev1.TaintEffectNoSchedule}
	tests := map[string]struct {
		specs  []corev1.PodSpec
		taints []corev1.Taint
		want   string
	}{
		"no DaemonSet is known":                     {},
		"a pod that asks for nothing":               {specs: []corev1.PodSpec{{}}},
		"a nodeSelector that the node meets":        {specs: []corev1.PodSpec{{NodeSelector: map[string]string{"os": "linux"}}}},
		"a nodeSelector of other nodes":             {specs: []corev1.PodSpec{{NodeSelector: map[string]string{"os": "windows"}}}, want: "nodeSelector (os=windows)"},
		"two DaemonSets, one of them for the node":  {specs: []corev1.PodSpec{{NodeSelector: map[string]string{"os": "windows"}}, {}}},
		"an affinity that one term meets":           {specs: []corev1.PodSpec{affinity(expression("os", corev1.NodeSelectorOpIn, "windows"), expression("os", corev1.NodeSelectorOpIn, "linux"))}},
		"an affinity of other nodes":                {specs: []corev1.PodSpec{affinity(expression("os", corev1.NodeSelectorOpNotIn, "linux"))}, want: "affinity"},
		"an affinity to what the node has not":      {specs: []corev1.PodSpec{affinity(expression("virtual", corev1.NodeSelectorOpDoesNotExist))}},
		"an affinity to larger nodes":               {specs: []corev1.PodSpec{affinity(expression("size", corev1.NodeSelectorOpGt, "4"))}, want: "affinity"},
		"an affinity to smaller nodes":              {specs: []corev1.PodSpec{affinity(expression("size", corev1.NodeSelectorOpLt, "4"))}},
		"an affinity by a number that is none":      {specs: []corev1.PodSpec{affinity(expression("os", corev1.NodeSelectorOpGt, "4"))}, want: "affinity"},
		"an affinity to the node by its name":       {specs: []corev1.PodSpec{affinity(field("node"))}},
		"an affinity to another by its name":        {specs: []corev1.PodSpec{affinity(field("other"))}, want: "affinity"},
		"an affinity that says nothing":             {specs: []corev1.PodSpec{affinity(corev1.NodeSelectorTerm{})}, want: "affinity"},
		"an affinity that nobody can meet":          {specs: []corev1.PodSpec{affinity(expression("os", "Sometimes"))}, want: "affinity"},
		"a taint that is not tolerated":             {specs: []corev1.PodSpec{{}}, taints: []corev1.Taint{gpu}, want: "tolerations (gpu=yes:NoSchedule)"},
		"a taint, and everything is tolerated":      {specs: []corev1.PodSpec{{Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}}}}, taints: []corev1.Taint{gpu}},
		"a taint that is tolerated by its value":    {specs: []corev1.PodSpec{{Tolerations: []corev1.Toleration{{Key: "gpu", Value: "yes"}}}}, taints: []corev1.Taint{gpu}},
		"a taint, and its other value is tolerated": {specs: []corev1.PodSpec{{Tolerations: []corev1.Toleration{{Key: "gpu", Value: "no"}}}}, taints: []corev1.Taint{gpu}, want: "tolerations (gpu=yes:NoSchedule)"},
		"a taint, and another effect is tolerated":  {specs: []corev1.PodSpec{{Tolerations: []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}}}}, taints: []corev1.Taint{gpu}, want: "tolerations (gpu=yes:NoSchedule)"},
		"a taint that only asks":                    {specs: []corev1.PodSpec{{}}, taints: []corev1.Taint{{Key: "gpu", Effect: corev1.TaintEffectPreferNoSchedule}}},
		"a node that is not ready":                  {specs: []corev1.PodSpec{{}}, taints: []corev1.Taint{{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute}}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			n := node.DeepCopy()
			n.Spec.Taints = tc.taints
			if got := explain.LeftOut(tc.specs, n); got != tc.want {
				t.Errorf("LeftOut() = %q, want %q", got, tc.want)
			}
		})
	}
}
