package explain

import (
	"fmt"
	"strings"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
)

// identity looks at the AzureIdentity that the pod gets.
func (q *inquiry) identity() Step {
	switch {
	case q.special() != "":
		return skipped("none is needed")
	case q.Unread["azureidentities"] != nil:
		return unknown("AzureIdentities cannot be read: %v", q.Unread["azureidentities"])
	}
	mine := q.bindings()
	if !q.found.Pod.Labelled() || len(mine) == 0 {
		return skipped("no binding names one")
	}
	g, chosen := q.grant()
	if !chosen {
		if q.decision.Reason == identity.NotAllowed {
			return q.notAllowed()
		}
		if len(q.found.Grants) > 0 {
			return q.notBound()
		}
		return q.noIdentity(mine)
	}
	return q.usable(g)
}

// notAllowed says which list keeps the pod from what it is bound to.
func (q *inquiry) notAllowed() Step {
	p := &q.found.Pod
	return broken("%s does not name service account %s of namespace %s", q.decision.By, p.ServiceAccount, p.Namespace).
		mend("have it named there by somebody who may (podid who-can, docs/who.md), or run the pod as a service account that is named")
}

// noIdentity says why none of the bindings entitles the pod.
func (q *inquiry) noIdentity(mine []identity.Binding) Step {
	for _, b := range mine {
		if q.object(identity.Grant{Identity: identity.Identity{Namespace: b.Namespace, Name: b.Identity}}) != nil {
			continue
		}
		s := broken("AzureIdentityBinding %s/%s names AzureIdentity %q, and namespace %s has none of that name", b.Namespace, b.Name, b.Identity, b.Namespace)
		var here, elsewhere []string
		for i := range q.Objects.Identities {
			switch o := &q.Objects.Identities[i]; {
			case o.Namespace == b.Namespace:
				here = append(here, o.Name)
			case o.Name == b.Identity:
				elsewhere = append(elsewhere, o.Namespace)
			}
		}
		if len(elsewhere) > 0 {
			s.Evidence += "; there is one in namespace " + few(elsewhere) + ", but binding and identity must share one"
		}
		if near := nearest(b.Identity, here); near != "" {
			s.Evidence += fmt.Sprintf("; there is %q", near)
			return s.mend("kubectl patch azureidentitybinding -n %s %s --type merge -p %s", b.Namespace, b.Name, fmt.Sprintf(`{"spec":{"azureIdentity":%q}}`, near))
		}
		return s.mend("kubectl apply -f IDENTITY.yaml   # an AzureIdentity %s in namespace %s", b.Identity, b.Namespace)
	}
	b := mine[0]
	return broken("AzureIdentityBinding %s/%s and AzureIdentity %s/%s are there, and do not entitle this pod: nmi refuses it (%s)", b.Namespace, b.Name, b.Namespace, b.Identity, q.decision.Reason).
		mend("kubectl describe azureidentity,azureidentitybinding -n %s   # who is allowed, and annotation %s", b.Namespace, v1.AnnotationBehavior)
}

// notBound says that what was asked for is not among what the pod may have.
func (q *inquiry) notBound() Step {
	var has []string
	for _, g := range q.found.Grants {
		has = append(has, fmt.Sprintf("%s/%s (client id %s)", g.Identity.Namespace, g.Identity.Name, orNone(g.Identity.ClientID)))
	}
	return broken("the pod asks for %s and is bound to %s", wanted(q.Want), few(has)).
		mend("have the client ask for one of these (AZURE_CLIENT_ID), or bind the one that it asks for")
}

func wanted(s identity.Selector) string {
	switch {
	case s.ClientID != "":
		return "client id " + s.ClientID
	case s.ObjectID != "":
		return "object id " + s.ObjectID
	case s.ResourceID != "":
		return "resource id " + s.ResourceID
	default:
		return "its default"
	}
}

func orNone(s string) string {
	if s == "" {
		return "none given"
	}
	return s
}

// usable looks at the definition of the identity, by the rules that nmi has.
func (q *inquiry) usable(g identity.Grant) Step {
	id := g.Identity
	name := id.Namespace + "/" + id.Name
	edit := script("kubectl edit azureidentity -n %s %s", id.Namespace, id.Name)
	switch id.Type {
	case v1.UserAssignedMSI:
		if id.ClientID == "" && id.ResourceID == "" {
			return broken("AzureIdentity %s names no identity: it has neither resourceID nor clientID", name).mend("%s", edit)
		}
		return ok("AzureIdentity %s: managed identity, client id %s%s", name, orNone(id.ClientID), q.others())
	case v1.ServicePrincipal, v1.ServicePrincipalCertificate:
		authority, err := q.settings.Rules.Application(id)
		if err != nil {
			return broken("%v", err).mend("%s", edit)
		}
		secret := id.Application.SecretNamespace + "/" + id.Application.SecretName
		if q.NoSecrets[secret] {
			return broken("AzureIdentity %s names Secret %s, which is not there", name, secret).
				mend("kubectl create secret generic -n %s %s %s", id.Application.SecretNamespace, id.Application.SecretName, from(id.Type))
		}
		if err := q.UnreadSecrets[secret]; err != nil && !q.gotToken() {
			return unknown("AzureIdentity %s names Secret %s, and whether it is there could not be read: %v", name, secret, err)
		}
		return ok("AzureIdentity %s: application %s of tenant %s, at %s, with Secret %s%s", name, id.ClientID, id.Application.TenantID, strings.TrimPrefix(authority, "https://"), secret, q.others())
	default:
		return broken("AzureIdentity %s is of type %d, which this version does not serve", name, id.Type).mend("%s", edit)
	}
}

// gotToken reports whether the agent has a token for this very pod.
func (q *inquiry) gotToken() bool {
	return q.Answer != nil && q.Answer.Claims != nil && q.Answer.PodUID == string(q.Pod.UID)
}

// from is how a Secret is made for a type.
func from(t v1.IdentityType) string {
	if t == v1.ServicePrincipalCertificate {
		return "--from-file=certificate=CERTIFICATE.pem"
	}
	return "--from-literal=clientSecret=VALUE"
}

// others says that there is more than one identity, and how to ask for another.
func (q *inquiry) others() string {
	if n := len(q.found.Grants); n > 1 && q.Want == (identity.Selector{}) {
		return fmt.Sprintf(" (the default of %d; others are asked for by client id)", n)
	}
	return ""
}
