package explain

import (
	"fmt"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/podid-io/podid/internal/shell"
)

// The two ends of what a pod asks: what it connects to, and what that is led to.
// Network plugins apply their policies before or after the redirect.
const (
	MetadataAddress = "169.254.169.254"
	MetadataPort    = 80
	AgentAddress    = "169.254.25.79"
	AgentPort       = 2579
)

// network looks for policies that keep the pod from asking.
func (q *inquiry) network() Step {
	if err := q.Unread["networkpolicies"]; err != nil {
		return unknown("NetworkPolicies cannot be read: %v", err)
	}
	var isolating []string
	metadata, agent := false, false
	for i := range q.Policies {
		p := &q.Policies[i]
		if !isolates(p, q.Pod.Labels) {
			continue
		}
		isolating = append(isolating, p.Name)
		metadata = metadata || allows(p, MetadataAddress, MetadataPort)
		agent = agent || allows(p, AgentAddress, AgentPort)
	}
	switch {
	case len(isolating) == 0:
		return ok("no NetworkPolicy of namespace %s limits what the pod connects to", q.Pod.Namespace)
	case metadata && agent:
		return ok("NetworkPolicy %s lets the pod ask", few(isolating))
	}
	missing := fmt.Sprintf("%s:%d", AgentAddress, AgentPort)
	switch {
	case !metadata && !agent:
		missing = fmt.Sprintf("%s:%d nor to %s", MetadataAddress, MetadataPort, missing)
	case !metadata:
		missing = fmt.Sprintf("%s:%d", MetadataAddress, MetadataPort)
	}
	return warning("NetworkPolicy %s forbids the pod to connect to %s: where the network plugin enforces it, its requests never reach nmi", few(isolating), missing).
		mend("%s", allowRule(q.Pod.Namespace))
}

// allowRule is the command that lets every pod of a namespace ask.
func allowRule(namespace string) string {
	to := func(address string, ports string) string {
		return fmt.Sprintf(`{"to":[{"ipBlock":{"cidr":"%s/32"}}],"ports":[{"protocol":"TCP",%s}]}`, address, ports)
	}
	return "echo " + shell.Quote(fmt.Sprintf(
		`{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"podid-metadata","namespace":%q},"spec":{"podSelector":{},"policyTypes":["Egress"],"egress":[%s,%s]}}`,
		namespace, to(MetadataAddress, fmt.Sprintf(`"port":%d`, MetadataPort)), to(AgentAddress, fmt.Sprintf(`"port":%d,"endPort":%d`, AgentPort, AgentPort+20)),
	)) + " | kubectl apply -f -"
}

// isolates reports whether a policy limits the egress of a pod with labels.
func isolates(p *networkingv1.NetworkPolicy, of map[string]string) bool {
	s, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
	if err != nil || !s.Matches(labels.Set(of)) {
		return false
	}
	if len(p.Spec.PolicyTypes) == 0 {
		return len(p.Spec.Egress) > 0
	}
	return slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
}

// allows reports whether a policy lets its pods connect to an address and a port.
func allows(p *networkingv1.NetworkPolicy, address string, port int32) bool {
	a := netip.MustParseAddr(address)
	return slices.ContainsFunc(p.Spec.Egress, func(r networkingv1.NetworkPolicyEgressRule) bool {
		return toAddress(r.To, a) && toPort(r.Ports, port)
	})
}

// toAddress reports whether an address that is no pod's is among the peers.
func toAddress(peers []networkingv1.NetworkPolicyPeer, a netip.Addr) bool {
	return len(peers) == 0 || slices.ContainsFunc(peers, func(p networkingv1.NetworkPolicyPeer) bool {
		if p.IPBlock == nil {
			return false
		}
		in := func(cidr string) bool {
			n, err := netip.ParsePrefix(cidr)
			return err == nil && n.Contains(a)
		}
		return in(p.IPBlock.CIDR) && !slices.ContainsFunc(p.IPBlock.Except, in)
	})
}

// toPort reports whether a TCP port is among the ports. A name is of a pod's
// container, which neither end is.
func toPort(ports []networkingv1.NetworkPolicyPort, port int32) bool {
	return len(ports) == 0 || slices.ContainsFunc(ports, func(p networkingv1.NetworkPolicyPort) bool {
		switch {
		case p.Protocol != nil && *p.Protocol != "TCP":
			return false
		case p.Port == nil:
			return true
		case p.Port.StrVal != "":
			return false
		case p.EndPort != nil:
			return p.Port.IntVal <= port && port <= *p.EndPort
		default:
			return p.Port.IntVal == port
		}
	})
}
