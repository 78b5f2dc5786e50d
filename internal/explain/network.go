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
	limiting, missing := Egress(q.Policies, q.Pod.Labels)
	switch {
	case len(limiting) == 0:
		return ok("no NetworkPolicy of namespace %s limits what the pod connects to", q.Pod.Namespace)
	case missing == "":
		return ok("NetworkPolicy %s lets the pod ask", few(limiting))
	default:
		return warning("NetworkPolicy %s forbids the pod to connect to %s: where the network plugin enforces it, its requests never reach nmi", few(limiting), missing).
			mend("%s", AllowEgress(q.Pod.Namespace))
	}
}

// Egress says which policies of a namespace limit what a pod with labels connects
// to, and which end of a request for a token they keep from it; empty for none.
// Plugins enforce a policy before the redirect or after it, so both ends count.
func Egress(policies []networkingv1.NetworkPolicy, of map[string]string) (limiting []string, missing string) {
	metadata, agent := false, false
	for i := range policies {
		p := &policies[i]
		if !isolates(p, of) {
			continue
		}
		limiting = append(limiting, p.Name)
		metadata = metadata || allows(p, MetadataAddress, MetadataPort)
		agent = agent || allows(p, AgentAddress, AgentPort)
	}
	before, after := fmt.Sprintf("%s:%d", MetadataAddress, MetadataPort), fmt.Sprintf("%s:%d, where that is led to", AgentAddress, AgentPort)
	switch {
	case len(limiting) == 0, metadata && agent:
		return limiting, ""
	case metadata:
		return limiting, after
	case agent:
		return limiting, before
	default:
		return limiting, before + " and to " + after
	}
}

// AllowEgress is the command that lets every pod of a namespace ask.
func AllowEgress(namespace string) string {
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
