package model

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// ExceptionNamespace is the one namespace whose exceptions count.
const ExceptionNamespace = "kube-system"

// How long a young pod hears "not yet" instead of "no".
const (
	youngWithoutBinding = 2 * time.Minute
	youngForMore        = 10 * time.Second
)

// Ask is what a request asks for. ClientID is empty for the pod's default.
type Ask struct{ ClientID, Resource string }

// Token says whose token it is. It is VM's where neither id is given.
type Token struct{ ClientID, ResourceID, Resource string }

// Answer is what a pod has coming to it.
type Answer int

// The answers.
const (
	// Deny is final.
	Deny Answer = iota
	// NotYet tells to ask again.
	NotYet
	// Hold means that the identity is on its way.
	Hold
	// Give means a token.
	Give
)

// Verdict is the answer to a request, and for Give the token.
type Verdict struct {
	Answer Answer
	Token  Token
}

// Of is the verdict on what a pod asks for, by these objects.
func (o *Objects) Of(p *Pod, a Ask, now time.Time) Verdict {
	if o.excepted(p) {
		return Verdict{Give, Token{ClientID: strings.ToLower(a.ClientID), Resource: a.Resource}}
	}
	grants := o.grants(p)
	age := now.Sub(p.Created)
	switch {
	case !o.asks(p):
		return Verdict{Answer: Deny}
	case len(grants) == 0 && age < youngWithoutBinding:
		return Verdict{Answer: NotYet}
	case len(grants) == 0:
		return Verdict{Answer: Deny}
	}
	for _, id := range grants {
		if a.ClientID != "" && !strings.EqualFold(a.ClientID, id.ClientID) {
			continue
		}
		if !o.attached(p, id) {
			return Verdict{Answer: Hold}
		}
		return Verdict{Give, tokenOf(id, a)}
	}
	if age < youngForMore {
		return Verdict{Answer: NotYet}
	}
	return Verdict{Answer: Deny}
}

// All are the tokens that a request may get while objects of one kind change one
// after the other: of whatever the pod is entitled to before or after.
func (o *Objects) All(p *Pod, a Ask) []Token {
	if o.excepted(p) {
		return []Token{{ClientID: strings.ToLower(a.ClientID), Resource: a.Resource}}
	}
	var all []Token
	for _, id := range o.grants(p) {
		if a.ClientID == "" || strings.EqualFold(a.ClientID, id.ClientID) {
			all = append(all, tokenOf(id, a))
		}
	}
	return all
}

func tokenOf(id Identity, a Ask) Token {
	return Token{ClientID: strings.ToLower(id.ClientID), ResourceID: strings.ToLower(id.ResourceID), Resource: a.Resource}
}

// asks reports whether the pod asks for an identity at all: by its label, or, if
// it has none, by the annotation of its namespace.
func (o *Objects) asks(p *Pod) bool {
	if p.HasSelector {
		return p.Selector != ""
	}
	return o.Namespaces[Key{Name: p.Namespace}].Binding != ""
}

// grants are the identities of the pod, the default first: the heaviest binding,
// then the first by name.
func (o *Objects) grants(p *Pod) []Identity {
	var bindings []Binding
	for _, b := range o.Bindings {
		switch {
		case b.Namespace != p.Namespace:
		case p.HasSelector && p.Selector != "" && b.Selector == p.Selector:
			bindings = append(bindings, b)
		case !p.HasSelector && b.Name == o.Namespaces[Key{Name: p.Namespace}].Binding:
			bindings = append(bindings, b)
		}
	}
	slices.SortFunc(bindings, func(x, y Binding) int {
		return cmp.Or(cmp.Compare(y.Weight, x.Weight), cmp.Compare(x.Name, y.Name))
	})
	var grants []Identity
	for _, b := range bindings {
		id, ok := o.Identities[Key{b.Namespace, b.Identity}]
		if ok && !slices.Contains(grants, id) {
			grants = append(grants, id)
		}
	}
	return grants
}

// Grants are the identities of a pod, for whoever attaches them.
func (o *Objects) Grants(p *Pod) []Identity { return o.grants(p) }

// attached reports whether the identity, as it is now, is on the node for this
// very pod.
func (o *Objects) attached(p *Pod, id Identity) bool {
	if o.Managed {
		return true
	}
	for _, a := range o.Assigned {
		if a.Usable && a.Namespace == p.Namespace && a.PodName == p.Name && (a.PodUID == "" || a.PodUID == p.UID) &&
			a.Identity == id.Key && a.ClientID == id.ClientID && a.ResourceID == id.ResourceID {
			return true
		}
	}
	return false
}

// excepted reports whether the pod goes past podid to the metadata service.
func (o *Objects) excepted(p *Pod) bool {
	if p.Namespace != ExceptionNamespace || p.App == "" {
		return false
	}
	for _, e := range o.Exceptions {
		if e.Namespace == p.Namespace && strings.EqualFold(e.App, p.App) {
			return true
		}
	}
	return false
}
