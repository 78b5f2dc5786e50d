package whocan

import (
	"slices"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
)

// Right is what one of its verbs, on one resource, is a way to the identity for.
type Right struct {
	// Could says what it is a way to do.
	Could string
	// Verbs are any of which is enough.
	Verbs []string
	// Group and Resource are as RBAC has them, pods/exec for a subresource.
	Group, Resource string
	// Namespace is where; empty for the whole cluster only, and Anywhere for any.
	Namespace string
	// Name is the only name that counts; empty means that any does, or none.
	Name string
	// As is the service account that the right is a way to act as: NAMESPACE/NAME, with
	// a star for any of the namespace. It is empty for what leads there by itself.
	As string
}

// Anywhere is the Namespace of a right that counts in any.
const Anywhere = "*"

// What a right can be a way to do.
const (
	runPod       = "run a pod bound to it"
	labelPod     = "label a pod for it"
	enterPod     = "enter a pod that may have it"
	enterKubelet = "enter any pod, by its node"
	define       = "define what it is used for"
	bindPods     = "bind pods to it"
	bindAll      = "bind its whole namespace"
	exceptPods   = "except pods from nmi"
	sayAttached  = "say that it is attached, which alone gives nothing"
	readSecret   = "read its credential" //nolint:gosec // G101: it is none
	runBeside    = "run a pod in the network of its machines"
	enterBeside  = "enter a pod in the network of its machines"
	openSpace    = "let pods of a namespace into the network of its machines"
	grantRights  = "grant such rights"
	actAsOthers  = "act as others"
	signOthers   = "have a certificate of others signed"
	changeGate   = "change what the API server lets in"
	actAsAccount = "act as a service account that could"
)

// write are the verbs that make or change an object. Server-side apply creates by
// patch, yet asks for create too.
func write() []string { return []string{"create", "update", "patch"} }

// change are the verbs that change an object that is there.
func change() []string { return []string{"update", "patch"} }

const (
	core      = ""
	ours      = "aadpodidentity.k8s.io"
	rbac      = "rbac.authorization.k8s.io"
	admission = "admissionregistration.k8s.io"
)

// rights are those that lead to the identity by themselves.
func (q *query) rights(takers []Taker) []Right {
	namespaces := q.podNamespaces()
	var list []Right
	for _, ns := range namespaces {
		list = append(list, running(ns, runPod)...)
		list = append(list,
			Right{Could: labelPod, Verbs: change(), Resource: "pods", Namespace: ns},
			Right{Could: labelPod, Verbs: change(), Resource: "pods/status", Namespace: ns})
		list = append(list, entering(ns, enterPod)...)
		list = append(list, Right{Could: sayAttached, Verbs: write(), Group: ours, Resource: "azureassignedidentities", Namespace: ns})
	}
	list = append(list, q.owning()...)
	list = append(list, q.beside(takers, namespaces)...)
	return append(list, q.ruling()...)
}

// running are the rights to run pods in a namespace.
func running(ns, could string) []Right {
	list := []Right{{Could: could, Verbs: []string{"create"}, Resource: "pods", Namespace: ns}}
	for group, resources := range map[string][]string{
		core:    {"replicationcontrollers"},
		"apps":  {"daemonsets", "deployments", "replicasets", "statefulsets"},
		"batch": {"cronjobs", "jobs"},
	} {
		for _, r := range resources {
			list = append(list, Right{Could: could, Verbs: write(), Group: group, Resource: r, Namespace: ns})
		}
	}
	return list
}

// entering are the rights to run something in the pods of a namespace. A web socket
// asks with GET.
func entering(ns, could string) []Right {
	return []Right{
		{Could: could, Verbs: []string{"create", "get"}, Resource: "pods/exec", Namespace: ns},
		{Could: could, Verbs: []string{"create", "get"}, Resource: "pods/attach", Namespace: ns},
		{Could: could, Verbs: change(), Resource: "pods/ephemeralcontainers", Namespace: ns},
	}
}

// marking are the rights to change the labels and annotations of a namespace, which
// its subresources take too.
func marking(ns, could string) []Right {
	var list []Right
	for _, r := range []string{"namespaces", "namespaces/status", "namespaces/finalize"} {
		list = append(list, Right{Could: could, Verbs: change(), Resource: r, Namespace: ns, Name: ns})
	}
	return list
}

// podNamespaces are those whose pods an AzureIdentityBinding could match.
func (q *query) podNamespaces() []string {
	var all []string
	for _, b := range q.bindings {
		id, ok := q.lookup(b.Namespace, b.Identity)
		if !ok || !q.target.names(id) {
			continue
		}
		candidates := []string{b.Namespace}
		if q.Rules.AcrossNamespaces && !id.Namespaced {
			candidates = q.namespaceNames()
		}
		for _, ns := range candidates {
			if id.Allowed.Namespace(ns) && b.Allowed.Namespace(ns) {
				all = with(all, ns)
			}
		}
	}
	return all
}

func (q *query) namespaceNames() []string {
	names := make([]string, 0, len(q.Namespaces))
	for i := range q.Namespaces {
		names = append(names, q.Namespaces[i].Name)
	}
	return names
}

// owning are the rights to the objects that say what the identity is and whose.
func (q *query) owning() []Right {
	var list []Right
	for _, id := range q.target.Identities {
		list = append(list, Right{Could: bindPods, Verbs: write(), Group: ours, Resource: "azureidentitybindings", Namespace: id.Namespace})
		list = append(list, marking(id.Namespace, bindAll)...)
		if id.Type != v1.UserAssignedMSI && id.Application.SecretName != "" {
			list = append(list, Right{
				Could: readSecret, Verbs: []string{"get", "list", "watch"}, Resource: "secrets",
				Namespace: id.Application.SecretNamespace, Name: id.Application.SecretName,
			})
		}
		if !q.DefineAsked && id.Type != v1.UserAssignedMSI {
			list = append(list, Right{Could: define, Verbs: write(), Group: ours, Resource: "azureidentities", Namespace: id.Namespace})
		}
	}
	if q.DefineAsked {
		for _, id := range slices.Concat(q.target.ClientIDs, q.target.ResourceIDs) {
			list = append(list, Right{Could: define, Verbs: []string{"define"}, Group: ours, Resource: "azureidentities", Name: id})
		}
	} else if q.onMachines() || q.Rules.AcrossNamespaces {
		list = append(list, Right{Could: define, Verbs: write(), Group: ours, Resource: "azureidentities", Namespace: Anywhere})
	}
	return list
}

// beside are the rights to run something on the machines of the identity past nmi.
func (q *query) beside(takers []Taker, bound []string) []Right {
	if !q.onMachines() {
		return nil
	}
	var list []Right
	for i := range q.Namespaces {
		ns := &q.Namespaces[i]
		if slices.Contains(bound, ns.Name) {
			continue
		}
		switch ns.Labels["pod-security.kubernetes.io/enforce"] {
		case "baseline", "restricted":
			list = append(list, marking(ns.Name, openSpace)...)
		default:
			list = append(list, running(ns.Name, runBeside)...)
		}
		if slices.ContainsFunc(takers, func(t Taker) bool { return t.Namespace == ns.Name }) {
			list = append(list, entering(ns.Name, enterBeside)...)
		}
	}
	excepting := q.Rules.ExceptionNamespaces
	if slices.Contains(excepting, identity.EveryNamespace) {
		excepting = []string{Anywhere}
	}
	for _, ns := range excepting {
		list = append(list, Right{Could: exceptPods, Verbs: write(), Group: ours, Resource: "azurepodidentityexceptions", Namespace: ns})
	}
	return list
}

// ruling are the rights over rights, and over what the API server lets in.
func (q *query) ruling() []Right {
	list := []Right{
		{Could: enterKubelet, Verbs: []string{"create", "get"}, Resource: "nodes/proxy"},
		{Could: signOthers, Verbs: []string{"approve"}, Group: "certificates.k8s.io", Resource: "signers"},
		{Could: grantRights, Verbs: []string{"bind", "escalate"}, Group: rbac, Resource: "clusterroles"},
		// In any namespace: there can be a service account that has a way.
		{Could: grantRights, Verbs: []string{"bind"}, Group: rbac, Resource: "clusterroles", Namespace: Anywhere},
		{Could: grantRights, Verbs: []string{"bind", "escalate"}, Group: rbac, Resource: "roles", Namespace: Anywhere},
	}
	for r, ns := range map[string]string{"users": "", "groups": "", "nodes": "", "serviceaccounts": Anywhere} {
		list = append(list,
			Right{Could: actAsOthers, Verbs: []string{"impersonate"}, Resource: r, Namespace: ns},
			Right{
				Could: actAsOthers, Group: "authentication.k8s.io", Resource: r, Namespace: ns,
				Verbs: []string{"impersonate:user-info", "impersonate:serviceaccount", "impersonate:arbitrary-node", "impersonate:associated-node"},
			})
	}
	for _, r := range []string{"mutatingwebhookconfigurations", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings"} {
		list = append(list, Right{Could: changeGate, Verbs: write(), Group: admission, Resource: r})
	}
	if q.DefineAsked {
		for _, r := range []string{"validatingadmissionpolicies", "validatingadmissionpolicybindings"} {
			list = append(list, Right{Could: changeGate, Verbs: []string{"update", "patch", "delete", "deletecollection"}, Group: admission, Resource: r, Name: DefinePolicy})
		}
	}
	for _, r := range []string{"azureidentities", "azureidentitybindings", "azurepodidentityexceptions"} {
		list = append(list, Right{Could: changeGate, Verbs: write(), Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions", Name: r + "." + ours})
	}
	return append(list, Right{Could: changeGate, Verbs: write(), Group: "apiregistration.k8s.io", Resource: "apiservices"})
}
