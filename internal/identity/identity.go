// Package identity decides which Azure identity a pod gets, or why none. It is
// pure: it takes values, returns values, and knows no client, clock or logger.
// Both mic, which puts identities on machines, and nmi, which hands out tokens,
// ask it, so that the two can never disagree about who is entitled.
package identity

import (
	"cmp"
	"slices"
	"strings"
	"time"

	v1 "github.com/podid-io/podid/api/v1"
)

// Pod is what a decision needs to know of a pod.
type Pod struct {
	Namespace, Name, UID string
	// ServiceAccount is its service account, a name in Namespace.
	ServiceAccount string
	// Node is the node it runs on; empty until it is scheduled.
	Node string
	// Selector is the value of its label aadpodidbinding; empty means that it has none.
	Selector string
	// NamespaceBinding is the name of a binding of its namespace, by which a pod
	// without a label of its own is bound: the annotation aadpodidentitybinding of
	// the namespace.
	NamespaceBinding string
	// Labels are all its labels, for exceptions. Shared: do not change them.
	Labels map[string]string
	// Created is when the API server first saw it.
	Created time.Time
}

// Identity is an AzureIdentity, read through its canonical spelling.
type Identity struct {
	Namespace, Name, UID string
	Type                 v1.IdentityType
	// ResourceID, ClientID and ObjectID are in lower case; each can be empty.
	ResourceID, ClientID, ObjectID string
	// Namespaced is set by the annotation aadpodidentity.k8s.io/Behavior.
	Namespaced bool
	// Application says how to sign in (types 1 and 2).
	Application Application
	// Allowed says which pods may use it.
	Allowed Allowed
}

// Application is how an application (types 1 and 2) signs in.
type Application struct {
	// TenantID is its tenant, AuxiliaryTenantIDs are others that a client may
	// choose by tenant_id: GUIDs or domain names, in lower case.
	TenantID           string
	AuxiliaryTenantIDs []string
	// Authority is the Entra host as spec.adEndpoint says it; empty means that of
	// the cloud.
	Authority string
	// SecretNamespace and SecretName name the Secret with its credential.
	SecretNamespace, SecretName string
}

// Binding is an AzureIdentityBinding, read through its canonical spelling.
type Binding struct {
	Namespace, Name, UID string
	// Identity is the name of an AzureIdentity in Namespace.
	Identity string
	Selector string
	Weight   int
	// Allowed narrows which pods may use the identity by this binding.
	Allowed Allowed
}

// FromAPI reads an AzureIdentity.
func FromAPI(o *v1.AzureIdentity) Identity {
	s := o.Spec.Canonical()
	return Identity{
		Namespace: o.Namespace, Name: o.Name, UID: string(o.UID),
		Type:       *s.Type,
		ResourceID: strings.ToLower(s.ResourceID),
		ClientID:   strings.ToLower(s.ClientID),
		ObjectID:   strings.ToLower(s.ObjectID),
		Namespaced: o.Annotations[v1.AnnotationBehavior] == v1.BehaviorNamespaced,

		Application: applicationFromAPI(o.Namespace, s),
		Allowed:     allowedFromAPI(o.Namespace, s.AllowedServiceAccounts, s.AllowedNamespaces),
	}
}

// BindingFromAPI reads an AzureIdentityBinding.
func BindingFromAPI(o *v1.AzureIdentityBinding) Binding {
	s := o.Spec.Canonical()
	return Binding{
		Namespace: o.Namespace, Name: o.Name, UID: string(o.UID),
		Identity: s.AzureIdentity, Selector: s.Selector, Weight: s.Weight,
		Allowed: allowedFromAPI(o.Namespace, s.AllowedServiceAccounts, s.AllowedNamespaces),
	}
}

// Grant is one identity that a pod is entitled to, and the binding that says so.
type Grant struct {
	Identity Identity
	Binding  Binding
	// Ready says that a token can be had: the identity is on the node, or need
	// not be. Match leaves it false; nmi's view of the node fills it in.
	Ready bool
}

// Match returns what the pod is entitled to, the default first: by weight
// (highest first), then namespace and name of the binding. Identities reached
// through several bindings appear once. lookup finds an AzureIdentity by
// namespace and name. A pod that has no label is bound by NamespaceBinding. What
// a list keeps from the pod is not among them; Bars has that.
func Match(pod Pod, bindings []Binding, lookup func(namespace, name string) (Identity, bool), rules Rules) []Grant {
	grants := slices.DeleteFunc(bound(pod, bindings, lookup, rules), func(g Grant) bool { return g.barredBy(pod) != "" })
	return firstOfEach(grants)
}

// bound is what the pod is bound to, allowed or not, in order.
func bound(pod Pod, bindings []Binding, lookup func(namespace, name string) (Identity, bool), rules Rules) []Grant {
	var grants []Grant
	for _, b := range bindings {
		if !pod.boundBy(b, rules) {
			continue
		}
		id, ok := lookup(b.Namespace, b.Identity)
		if !ok || id.Namespace != b.Namespace || (id.Namespaced && id.Namespace != pod.Namespace) {
			continue
		}
		grants = append(grants, Grant{Identity: id, Binding: b})
	}
	slices.SortStableFunc(grants, func(x, y Grant) int {
		return cmp.Or(
			cmp.Compare(y.Binding.Weight, x.Binding.Weight),
			cmp.Compare(x.Binding.Namespace, y.Binding.Namespace),
			cmp.Compare(x.Binding.Name, y.Binding.Name),
		)
	})
	return grants
}

// Labelled reports whether the pod asks for an identity: by a label of its own,
// or by its namespace's annotation.
func (p Pod) Labelled() bool { return p.Selector != "" || p.NamespaceBinding != "" }

// boundBy reports whether the binding is one of the pod's. A label of its own
// wins over the annotation of its namespace, also where it matches nothing; the
// annotation means a binding of that namespace, whatever its selector, and
// reaches no other namespace under any rules.
func (p Pod) boundBy(b Binding, rules Rules) bool {
	switch {
	case p.Selector != "":
		return b.Selector == p.Selector && (b.Namespace == p.Namespace || rules.AcrossNamespaces)
	case p.NamespaceBinding != "":
		return b.Namespace == p.Namespace && b.Name == p.NamespaceBinding
	default:
		return false
	}
}

// firstOfEach keeps the first grant of every identity, in order.
func firstOfEach(grants []Grant) []Grant {
	type name struct{ namespace, name string }
	seen := make(map[name]bool, len(grants))
	return slices.DeleteFunc(grants, func(g Grant) bool {
		k := name{g.Identity.Namespace, g.Identity.Name}
		if seen[k] {
			return true
		}
		seen[k] = true
		return false
	})
}
