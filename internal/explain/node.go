package explain

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/podid-io/podid/internal/taint"
)

// node looks at the machine that the pod is on.
func (q *inquiry) node() Step {
	name := q.Pod.Spec.NodeName
	switch {
	case name == "" && q.DryRun:
		return skipped("the pod is on no node")
	case name == "":
		return skipped("the pod is on no node yet")
	case q.Unread["nodes"] != nil:
		return unknown("node %s cannot be read: %v", name, q.Unread["nodes"])
	case q.Node == nil:
		return broken("node %s is gone", name).mend("kubectl delete pod -n %s %s   # what made it makes another", q.Pod.Namespace, q.Pod.Name)
	}
	if os := q.Node.Labels[corev1.LabelOSStable]; os == "windows" || q.Node.Status.NodeInfo.OperatingSystem == "windows" {
		return broken("node %s runs Windows, where podid does not run", name).mend("set nodeSelector kubernetes.io/os: linux")
	}
	for _, t := range q.Node.Spec.Taints {
		if t.Key == taint.DefaultKey || slices.Contains(q.StartupTaints, t.Key) {
			return waiting("node %s has the taint %s still: its nmi has not been ready since it joined", name, t.Key)
		}
	}
	for _, c := range q.Node.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return warning("node %s is not ready since %s: %s", name, since(q.Now, c.LastTransitionTime.Time), c.Message).mend("kubectl describe node %s", name)
		}
	}
	return ok("node %s%s", name, providerOf(q.Node))
}

func providerOf(n *corev1.Node) string {
	id := strings.TrimPrefix(n.Spec.ProviderID, "azure://")
	if id == "" {
		return ""
	}
	return " is " + id
}
