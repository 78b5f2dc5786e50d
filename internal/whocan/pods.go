package whocan

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/mic/assignment"
)

// Pod has the identity.
type Pod struct {
	Namespace      string `json:"namespace"`
	Name           string `json:"name"`
	ServiceAccount string `json:"serviceAccount"`
	Node           string `json:"node,omitempty"`
	// Binding is the AzureIdentityBinding, as namespace/name.
	Binding string `json:"binding"`
	// Default says that it is the identity of a pod that asks for none by name.
	Default bool `json:"default"`
	// Assigned says that it is on the node, or need not be, or that the cluster does not
	// know, in managed mode.
	Assigned bool `json:"assigned"`
	// Served says that nmi serves its type.
	Served bool `json:"served"`
}

// Taker is a pod on a machine of the identity that can take it there past nmi.
type Taker struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Node      string `json:"node"`
	// Why is hostNetwork, privileged, hostPID, hostPath, exception or a capability.
	Why string `json:"why"`
}

// read is a pod as Select wants it.
func (q *query) read(p *corev1.Pod) identity.Pod {
	selector, labelled := p.Labels[v1.LabelBinding]
	pod := identity.Pod{
		Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), ServiceAccount: p.Spec.ServiceAccountName,
		Node: p.Spec.NodeName, Selector: selector, Labels: p.Labels, Created: p.CreationTimestamp.Time,
	}
	if !labelled {
		pod.NamespaceBinding = q.annotated[p.Namespace]
	}
	return pod
}

func ended(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// pods are those that have the identity, or will when it is on their node.
func (q *query) pods(now time.Time) []Pod {
	have := []Pod{}
	for i := range q.Pods {
		p := &q.Pods[i]
		if ended(p) || p.Spec.HostNetwork { // whom nmi does not serve
			continue
		}
		pod := q.read(p)
		grants := identity.Match(pod, q.bindings, q.lookup, q.Rules)
		for g := range grants {
			grants[g].Ready = q.assigned(pod, grants[g].Identity)
		}
		for _, g := range grants {
			if !q.target.names(g.Identity) {
				continue
			}
			d := identity.Select(pod, grants, named(g.Identity), now)
			if d.Outcome != identity.Selected && d.Outcome != identity.Pending {
				continue
			}
			have = append(have, Pod{
				Namespace: pod.Namespace, Name: pod.Name, ServiceAccount: pod.ServiceAccount, Node: pod.Node,
				Binding:  g.Binding.Namespace + "/" + g.Binding.Name,
				Default:  q.target.names(grants[0].Identity),
				Assigned: d.Outcome == identity.Selected,
				Served:   served(g.Identity.Type),
			})
			break
		}
	}
	slices.SortFunc(have, func(x, y Pod) int {
		return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
	return have
}

// named asks for an identity by one of its ids.
func named(id identity.Identity) identity.Selector {
	if id.ClientID != "" {
		return identity.Selector{ClientID: id.ClientID}
	}
	return identity.Selector{ResourceID: id.ResourceID}
}

// served reports whether nmi serves a type.
func served(t v1.IdentityType) bool {
	switch t {
	case v1.UserAssignedMSI, v1.ServicePrincipal, v1.ServicePrincipalCertificate:
		return true
	default:
		return false
	}
}

// assigned reports whether an identity is on the node of a pod, or need not be.
func (q *query) assigned(pod identity.Pod, id identity.Identity) bool {
	return q.Managed || id.Type != v1.UserAssignedMSI || slices.ContainsFunc(q.byPod[name{pod.Namespace, pod.Name}], func(a *v1.AzureAssignedIdentity) bool {
		ref := a.Spec.AzureIdentityRef
		return ref != nil && ref.Namespace == id.Namespace && ref.Name == id.Name &&
			(a.Spec.PodUID == "" || a.Spec.PodUID == pod.UID) &&
			(a.Status.Status == v1.Assigned || a.Status.Status == "")
	})
}

// machines are the nodes whose VM or scale set has the identity: those of its pods,
// those of which an AzureAssignedIdentity says so, those that it is put on before any
// pod, and all that share a scale set with one of them.
func (q *query) machines(pods []Pod) map[string]bool {
	on := map[string]bool{}
	if !q.onMachines() {
		return on
	}
	for _, p := range pods {
		on[p.Node] = true
	}
	for i := range q.Assigned {
		if ref := q.Assigned[i].Spec.AzureIdentityRef; ref != nil {
			spec := ref.Spec.Canonical()
			if q.target.names(identity.FromAPI(&v1.AzureIdentity{Spec: spec})) {
				on[q.Assigned[i].Spec.NodeName] = true
			}
		}
	}
	for i := range q.Bindings {
		id, ok := q.lookup(q.bindings[i].Namespace, q.bindings[i].Identity)
		selector, err := assignment.Nodes(&q.Bindings[i])
		if !ok || !q.target.names(id) || err != nil || selector == nil { // its condition tells of an error
			continue
		}
		for n := range q.Nodes {
			if selector.Matches(labels.Set(q.Nodes[n].Labels)) {
				on[q.Nodes[n].Name] = true
			}
		}
	}
	return q.neighbours(on)
}

// neighbours adds to nodes those of the same VM or scale set, and leaves out what is
// no node.
func (q *query) neighbours(on map[string]bool) map[string]bool {
	scopes := map[assign.Scope]bool{}
	for i := range q.Nodes {
		if scope, err := assign.ParseProviderID(q.Nodes[i].Spec.ProviderID); err == nil && on[q.Nodes[i].Name] {
			scopes[scope] = true
		}
	}
	all := map[string]bool{}
	for i := range q.Nodes {
		scope, err := assign.ParseProviderID(q.Nodes[i].Spec.ProviderID)
		if on[q.Nodes[i].Name] || err == nil && scopes[scope] {
			all[q.Nodes[i].Name] = true
		}
	}
	return all
}

// takers are the pods on machines that can ask the metadata service there themselves,
// or have nmi ask for them, for whatever identity is on it.
func (q *query) takers(machines map[string]bool) (takers []Taker, pods int) {
	takers = []Taker{}
	for i := range q.Pods {
		p := &q.Pods[i]
		if ended(p) || !machines[p.Spec.NodeName] {
			continue
		}
		pods++
		if why := q.past(p); why != "" {
			takers = append(takers, Taker{p.Namespace, p.Name, p.Spec.NodeName, why})
		}
	}
	slices.SortFunc(takers, func(x, y Taker) int {
		return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
	return takers, pods
}
