package identity

import (
	"cmp"
	"slices"
	"strings"
)

// Allowed says which pods may use what they are bound to. The zero value lets
// every pod; a list, once it is there, lets only those that it names, and where
// both are there both must name the pod.
type Allowed struct {
	// ServiceAccounts are namespace/name.
	ServiceAccounts []string
	// Namespaces are their names.
	Namespaces []string
}

// allowedFromAPI reads the lists of an object of a namespace, which a service
// account is of that names none.
func allowedFromAPI(namespace string, accounts, namespaces []string) Allowed {
	a := Allowed{Namespaces: namespaces}
	for _, account := range accounts {
		if !strings.Contains(account, "/") {
			account = namespace + "/" + account
		}
		a.ServiceAccounts = append(a.ServiceAccounts, account)
	}
	return a
}

// Namespace reports whether pods of a namespace may be among those that are
// allowed, whatever their service account.
func (a Allowed) Namespace(namespace string) bool {
	ofIt := func(account string) bool { return strings.HasPrefix(account, namespace+"/") }
	return (len(a.Namespaces) == 0 || slices.Contains(a.Namespaces, namespace)) &&
		(len(a.ServiceAccounts) == 0 || slices.ContainsFunc(a.ServiceAccounts, ofIt))
}

// keepsOut is the field of the list that does not name the pod; "" when the pod is
// allowed. A pod whose service account is not known is named by no list of them.
func (a Allowed) keepsOut(pod Pod) string {
	switch {
	case len(a.Namespaces) > 0 && !slices.Contains(a.Namespaces, pod.Namespace):
		return "allowedNamespaces"
	case len(a.ServiceAccounts) > 0 &&
		(pod.ServiceAccount == "" || !slices.Contains(a.ServiceAccounts, pod.Namespace+"/"+pod.ServiceAccount)):
		return "allowedServiceAccounts"
	default:
		return ""
	}
}

// Barred is a grant that a list keeps from the pod.
type Barred struct {
	Grant
	// By is that list, in words: spec.allowedNamespaces of AzureIdentity team/app.
	By string
}

// Bars returns what the pod is bound to and may not use: what is of its own
// namespace first, since across namespaces anybody's binding can reach it, and then
// in the order of Match. Its arguments are those of Match.
func Bars(pod Pod, bindings []Binding, lookup func(namespace, name string) (Identity, bool), rules Rules) []Barred {
	var barred []Barred
	for _, g := range bound(pod, bindings, lookup, rules) {
		if by := g.barredBy(pod); by != "" {
			barred = append(barred, Barred{Grant: g, By: by})
		}
	}
	slices.SortStableFunc(barred, func(x, y Barred) int {
		return cmp.Compare(x.away(pod), y.away(pod))
	})
	return barred
}

// away is 0 for a grant by a binding of the pod's namespace and 1 for others.
func (g Grant) away(pod Pod) int {
	if g.Binding.Namespace == pod.Namespace {
		return 0
	}
	return 1
}

// barredBy is the list that keeps the grant from the pod, in words; "" for none.
// The list of a binding comes after that of its identity: it can only narrow it.
func (g Grant) barredBy(pod Pod) string {
	if field := g.Identity.Allowed.keepsOut(pod); field != "" {
		return "spec." + field + " of AzureIdentity " + g.Identity.Namespace + "/" + g.Identity.Name
	}
	if field := g.Binding.Allowed.keepsOut(pod); field != "" {
		return "spec." + field + " of AzureIdentityBinding " + g.Binding.Namespace + "/" + g.Binding.Name
	}
	return ""
}

// Because returns a refusal of Select with its reason, where that is a list: the
// pod asks for what it is bound to and kept from. How final it is stays as it was: a
// list may be widened a moment after a pod is made, as a binding may come then.
// Other decisions stay as they are; none becomes one that gives a token.
func (d Decision) Because(barred []Barred, want Selector) Decision {
	if d.Outcome != Denied && d.Outcome != NotYet {
		return d
	}
	for _, b := range barred {
		if want.names(b.Identity) {
			d.Reason, d.By = NotAllowed, b.By
			return d
		}
	}
	return d
}
