package explain

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
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
			mend("%s", command(AllowEgress(q.Policies, q.Pod.Labels)))
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

// AllowEgress is the command that lets pods of a namespace ask, each given by its
// labels. It makes a policy beside each that limits them, for the same pods: one
// for more would take from the others all that no policy had kept from them.
func AllowEgress(policies []networkingv1.NetworkPolicy, pods ...map[string]string) string {
	var items []networkingv1.NetworkPolicy
	for i := range policies {
		p := &policies[i]
		if slices.ContainsFunc(pods, func(of map[string]string) bool { return isolates(p, of) }) {
			items = append(items, beside(p))
		}
	}
	list, _ := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": items}) // has nothing that cannot be written
	return string(apply(string(list)))
}

// beside is a policy for the same pods as another, that lets them ask.
func beside(p *networkingv1.NetworkPolicy) networkingv1.NetworkPolicy {
	const longest = 253 // that a name may be
	to := func(address string, first, last int32) networkingv1.NetworkPolicyEgressRule {
		tcp, port := corev1.ProtocolTCP, intstr.FromInt32(first)
		ports := networkingv1.NetworkPolicyPort{Protocol: &tcp, Port: &port}
		if last > first {
			ports.EndPort = &last
		}
		return networkingv1.NetworkPolicyEgressRule{
			To:    []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: address + "/32"}}},
			Ports: []networkingv1.NetworkPolicyPort{ports},
		}
	}
	name := "podid-metadata-" + p.Name
	return networkingv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "NetworkPolicy"},
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: strings.TrimRight(name[:min(len(name), longest)], "-.")},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: p.Spec.PodSelector,
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
			Egress:      []networkingv1.NetworkPolicyEgressRule{to(MetadataAddress, MetadataPort, MetadataPort), to(AgentAddress, AgentPort, AgentPort+20)},
		},
	}
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
