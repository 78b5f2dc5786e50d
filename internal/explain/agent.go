package explain

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// agent looks at nmi on the pod's node: whether it runs, whether it is ready, and
// whether it knows the pod by its address.
func (q *inquiry) agent() Step {
	node := q.Pod.Spec.NodeName
	switch {
	case node == "":
		return skipped("the pod is on no node")
	case q.Unread["agents"] != nil:
		return unknown("the pods of nmi cannot be read: %v", q.Unread["agents"])
	case q.Answer != nil:
		return q.answered()
	case len(q.AgentPods) == 0 && q.leftOut() != "":
		return broken("no nmi runs on node %s, which nmi's %s leaves out: the pod reaches the metadata service of the machine past podid, and with it any identity that is on it", node, q.leftOut()).
			mend("have nmi run there (nmi.nodeSelector, nmi.affinity and nmi.tolerations of the chart), or have the pod run where it does, by a nodeSelector of its own:\nkubectl get pods -n %s -l app.kubernetes.io/name=podid,app.kubernetes.io/component=nmi -o wide", q.System)
	case len(q.AgentPods) == 0:
		return broken("no nmi runs on node %s", node).
			mend("kubectl get daemonsets,pods -n %s -l app.kubernetes.io/name=podid,app.kubernetes.io/component=nmi -o wide   # nodeSelector and tolerations", q.System)
	}
	p := &q.AgentPods[0]
	if ready, why := Readiness(p, q.Now); !ready {
		return broken("nmi on node %s, pod %s/%s, is not ready: %s", node, p.Namespace, p.Name, why).
			mend("kubectl exec -n %s %s -- /nmi ready\nkubectl logs -n %s %s --tail=50", p.Namespace, p.Name, p.Namespace, p.Name)
	}
	return unknown("nmi on node %s, pod %s/%s, is ready; it could not be asked about the pod: %v", node, p.Namespace, p.Name, q.AgentErr).
		mend("kubectl auth can-i create pods/exec -n %s", p.Namespace)
}

// leftOut is what keeps nmi from the pod's node, where that is so.
func (q *inquiry) leftOut() string {
	if q.Node == nil {
		return ""
	}
	return LeftOut(q.AgentTemplates, q.Node)
}

// Readiness is what the status of a pod of podid's says of it, and why where it is
// not ready.
func Readiness(p *corev1.Pod, now time.Time) (ready bool, why string) {
	for _, c := range p.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil && w.Reason != "" {
			return false, strings.TrimSpace(w.Reason + " " + w.Message)
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			if c.Status == corev1.ConditionTrue {
				return true, ""
			}
			return false, "since " + since(now, c.LastTransitionTime.Time)
		}
	}
	return false, "it is " + string(p.Status.Phase)
}

// answered goes by the agent's own words.
func (q *inquiry) answered() Step {
	a := q.Answer
	if red := q.red(); len(red) > 0 {
		return broken("nmi %s on node %s is not ready: %s", a.Version, a.Node, strings.Join(red, "; ")).
			mend("kubectl logs -n %s -l app.kubernetes.io/name=podid,app.kubernetes.io/component=nmi --field-selector spec.nodeName=%s --tail=50", q.System, a.Node)
	}
	switch {
	case a.Network != "":
		return broken("nmi on node %s: %s", a.Node, a.Network).
			mend("docs/networks.md says which networks give each pod a link of its own")
	case a.PodUID == "":
		return q.unless(waiting("nmi on node %s does not know the pod yet: %s", a.Node, a.Unknown))
	case a.PodUID != string(q.Pod.UID):
		return q.unless(waiting("nmi on node %s knows another pod by the name still", a.Node))
	}
	known, trouble := q.address()
	switch {
	case trouble != nil:
		return *trouble
	case known == "":
		return q.unless(waiting("nmi on node %s knows no IPv4 address of the pod yet, and the metadata address is asked by IPv4", a.Node))
	default:
		return ok("nmi %s on node %s is ready and knows the pod by %s", a.Version, a.Node, known)
	}
}

// unless makes of waiting for the agent something broken, where it is for long: the
// agent hears of a pod within seconds of its address.
func (q *inquiry) unless(s Step) Step {
	began := q.Pod.CreationTimestamp.Time
	for _, c := range q.Pod.Status.Conditions {
		if c.LastTransitionTime.After(began) && c.Status == corev1.ConditionTrue {
			began = c.LastTransitionTime.Time
		}
	}
	if len(q.Pod.Status.PodIPs) == 0 || q.Now.Sub(began) < soon {
		return s
	}
	s.State = Broken
	return s.mend("kubectl logs -n %s -l app.kubernetes.io/name=podid,app.kubernetes.io/component=nmi --field-selector spec.nodeName=%s --tail=50", q.System, q.Answer.Node)
}

// red are the agent's checks that are not green and concern this pod.
func (q *inquiry) red() []string {
	var red []string
	if q.Answer.Ready {
		return nil
	}
	for _, line := range q.Answer.Checks {
		check, isRed := strings.CutPrefix(line, "[-] ")
		if isRed && !strings.HasPrefix(check, "pod-network:") { // that one is of any pod: see Answer.Network
			red = append(red, check)
		}
	}
	return red
}

// address finds the IPv4 address that the pod is known by, or what is the matter
// with it.
func (q *inquiry) address() (known string, trouble *Step) {
	for _, a := range q.Answer.Addresses {
		ip, err := netip.ParseAddr(a.Address)
		if err != nil || !ip.Is4() {
			continue
		}
		rivals := ""
		if len(a.Rivals) > 0 {
			rivals = fmt.Sprintf(" (so says the API server of %s too)", few(a.Rivals))
		}
		switch {
		case a.Trouble == "":
			return a.Address, nil
		case a.Ambiguous:
			s := broken("the address %s is not the pod's alone%s: %s, and none of them gets a token", a.Address, rivals, a.Trouble).
				mend("kubectl get pods -A -o wide --field-selector spec.nodeName=%s | grep -wF %s   # delete the pod that does not have it", q.Answer.Node, a.Address)
			trouble = &s
		case q.Now.Sub(q.Pod.CreationTimestamp.Time) < soon:
			s := waiting("address %s: %s", a.Address, a.Trouble)
			trouble = &s
		default:
			s := broken("address %s: %s%s", a.Address, a.Trouble, rivals).
				mend("kubectl delete pod -n %s %s   # a new pod gets an address and a link of its own; docs/networks.md, Which pod has an address", q.Pod.Namespace, q.Pod.Name)
			trouble = &s
		}
	}
	return "", trouble
}
