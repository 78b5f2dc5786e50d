package identity

import (
	"strings"
	"time"
)

// Selector is what a client asked for by name: at most one field is set. The
// zero value asks for the pod's default identity.
type Selector struct {
	ClientID, ObjectID, ResourceID string
}

// Outcome is the kind of a Decision.
type Outcome int

const (
	// Denied is final: the pod is not entitled to what it asked for.
	Denied Outcome = iota
	// NotYet means that the pod is young and what it lacks may still be on its
	// way to the API server: refuse, but in words that make a client ask again.
	NotYet
	// Pending means that the pod is entitled and the identity is on its way to
	// the node: hold the request.
	Pending
	// Selected means that a token for Grant can be asked for now.
	Selected
)

// Reason says why a decision is not Selected. The set is closed, since it
// labels metrics.
type Reason string

// Reasons for Denied and NotYet.
const (
	NoLabel      Reason = "no_label"      // the pod has no label aadpodidbinding, and its namespace no annotation instead
	NoBinding    Reason = "no_binding"    // no binding (with an identity) matches its label or its namespace's annotation
	NotBound     Reason = "not_bound"     // it is bound, but not to the identity it asks for
	Unassigned   Reason = "unassigned"    // entitled; the identity is not on the node yet
	NotAllowed   Reason = "not_allowed"   // it is bound to what it asks for, and a list there does not name it
	NotSupported Reason = "not_supported" // the identity is of a type that this agent does not serve, or has no id
)

// How long after its creation a pod that is not bound is told NotYet instead of
// Denied: pods and their bindings are often applied together, in any order.
const (
	// Grace is for a pod whose label, or whose namespace's annotation, no binding
	// matches.
	Grace = 2 * time.Minute
	// GraceForMore is for a pod that is bound, but not to what it asks for: more
	// often a wrong id, of which it should hear soon, than a second binding.
	GraceForMore = 10 * time.Second
)

// Decision is the answer of Select.
type Decision struct {
	Outcome Outcome
	Reason  Reason
	// Grant is set for Pending and Selected.
	Grant Grant
	// By is set for NotAllowed: the list that does not name the pod, in words.
	By string
}

// Select decides which of its grants a pod gets for what it asks. Ids are
// compared without case. Asked for none by name, it is the first grant; asked
// for one, never another.
func Select(pod Pod, grants []Grant, want Selector, now time.Time) Decision {
	switch {
	case !pod.Labelled():
		return Decision{Outcome: Denied, Reason: NoLabel}
	case len(grants) == 0 && now.Sub(pod.Created) < Grace:
		return Decision{Outcome: NotYet, Reason: NoBinding}
	case len(grants) == 0:
		return Decision{Outcome: Denied, Reason: NoBinding}
	}
	for _, g := range grants {
		if !want.names(g.Identity) {
			continue
		}
		if !g.Ready {
			return Decision{Outcome: Pending, Reason: Unassigned, Grant: g}
		}
		return Decision{Outcome: Selected, Grant: g}
	}
	if now.Sub(pod.Created) < GraceForMore {
		return Decision{Outcome: NotYet, Reason: NotBound}
	}
	return Decision{Outcome: Denied, Reason: NotBound}
}

// names reports whether the selector asks for id, or for none in particular.
func (s Selector) names(id Identity) bool {
	switch {
	case s.ClientID != "":
		return strings.EqualFold(s.ClientID, id.ClientID)
	case s.ObjectID != "":
		return strings.EqualFold(s.ObjectID, id.ObjectID)
	case s.ResourceID != "":
		return strings.EqualFold(s.ResourceID, id.ResourceID)
	default:
		return true
	}
}
