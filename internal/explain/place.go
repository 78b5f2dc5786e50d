package explain

import (
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// LeftOut is what keeps the pods of nmi's DaemonSets, given by their specs, from a
// node: their nodeSelector, affinity or tolerations, in words. It is empty where one
// of them is for the node, and where none is known.
func LeftOut(agents []corev1.PodSpec, n *corev1.Node) string {
	why := ""
	for i := range agents {
		why = keptFrom(&agents[i], n)
		if why == "" {
			return ""
		}
	}
	return why
}

// keptFrom is what keeps a pod of a DaemonSet from a node.
func keptFrom(s *corev1.PodSpec, n *corev1.Node) string {
	if !labels.SelectorFromSet(s.NodeSelector).Matches(labels.Set(n.Labels)) {
		return "nodeSelector (" + labels.FormatLabels(s.NodeSelector) + ")"
	}
	if a := s.Affinity; a != nil && a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		terms := a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
		if !slices.ContainsFunc(terms, func(t corev1.NodeSelectorTerm) bool { return selects(&t, n) }) {
			return "affinity"
		}
	}
	for i := range n.Spec.Taints {
		if t := &n.Spec.Taints[i]; !tolerates(s.Tolerations, t) {
			return "tolerations (" + t.ToString() + ")"
		}
	}
	return ""
}

// selects reports whether a term is for a node. One that says nothing is for none.
func selects(t *corev1.NodeSelectorTerm, n *corev1.Node) bool {
	all := func(list []corev1.NodeSelectorRequirement, of labels.Set) bool {
		return !slices.ContainsFunc(list, func(r corev1.NodeSelectorRequirement) bool { return !meets(r, of) })
	}
	return len(t.MatchExpressions)+len(t.MatchFields) > 0 &&
		all(t.MatchExpressions, labels.Set(n.Labels)) && all(t.MatchFields, labels.Set{metav1.ObjectNameField: n.Name})
}

// meets reports whether labels are as a requirement wants them. One that nobody
// could meet is met by none.
func meets(r corev1.NodeSelectorRequirement, of labels.Set) bool {
	operators := map[corev1.NodeSelectorOperator]selection.Operator{
		corev1.NodeSelectorOpIn: selection.In, corev1.NodeSelectorOpNotIn: selection.NotIn,
		corev1.NodeSelectorOpExists: selection.Exists, corev1.NodeSelectorOpDoesNotExist: selection.DoesNotExist,
		corev1.NodeSelectorOpGt: selection.GreaterThan, corev1.NodeSelectorOpLt: selection.LessThan,
	}
	if r.Operator == corev1.NodeSelectorOpGt || r.Operator == corev1.NodeSelectorOpLt {
		if _, err := strconv.ParseInt(of[r.Key], 10, 64); err != nil {
			return false
		}
	}
	q, err := labels.NewRequirement(r.Key, operators[r.Operator], r.Values)
	return err == nil && q.Matches(of)
}

// byItself reports whether pods of every DaemonSet on the node's network tolerate a
// taint: Kubernetes sees to it.
func byItself(key string) bool {
	switch key {
	case corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable, corev1.TaintNodeDiskPressure, corev1.TaintNodeMemoryPressure,
		corev1.TaintNodePIDPressure, corev1.TaintNodeUnschedulable, corev1.TaintNodeNetworkUnavailable:
		return true
	default:
		return false
	}
}

func tolerates(list []corev1.Toleration, t *corev1.Taint) bool {
	if t.Effect != corev1.TaintEffectNoSchedule && t.Effect != corev1.TaintEffectNoExecute || byItself(t.Key) {
		return true
	}
	return slices.ContainsFunc(list, func(x corev1.Toleration) bool {
		switch {
		case x.Effect != "" && x.Effect != t.Effect, x.Key != "" && x.Key != t.Key:
			return false
		case x.Operator == corev1.TolerationOpExists:
			return true
		default:
			return x.Key != "" && (x.Operator == "" || x.Operator == corev1.TolerationOpEqual) && x.Value == t.Value
		}
	})
}
