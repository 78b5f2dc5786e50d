package explain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "github.com/podid-io/podid/api/v1"
)

// settled is how long Azure may take to tell a node of an identity that is on its
// machine.
const settled = 2 * time.Minute

// token looks at what the agent got, or would answer.
func (q *inquiry) token(so *Report) Step {
	a := q.Answer
	switch {
	case q.DryRun:
		return skipped("the pod does not exist")
	case a == nil && before(so, Broken, Waiting):
		return skipped("what comes before is missing")
	case a == nil:
		return unknown("nmi could not be asked for one")
	case a.PodUID != string(q.Pod.UID):
		return skipped("nmi does not know the pod")
	}
	if s, differs := q.disagreement(); differs {
		return s
	}
	switch {
	case a.Claims != nil:
		return q.claimed()
	case (a.Outcome == SelectedOutcome || a.Status == 200) && q.special() != "":
		return unknown("which identity the pod gets shows when it asks: --resource has nmi get a token")
	case a.Outcome == SelectedOutcome || a.Status == 200:
		return skipped("not asked for: --resource has nmi get one")
	default:
		return q.refused()
	}
}

// before reports whether a step that was made is in one of the states.
func before(r *Report, states ...State) bool {
	return slices.ContainsFunc(r.Steps, func(s Step) bool { return slices.Contains(states, s.State) })
}

// claimed looks at whose the token is.
func (q *inquiry) claimed() Step {
	c := q.Answer.Claims
	if c.Opaque {
		return ok("nmi has a token for %s; it is no JWT and says nothing of itself; valid until %s", q.Resource, c.Expires.UTC().Format(time.RFC3339))
	}
	said := fmt.Sprintf("token of client id %s (object %s, tenant %s) for %s, valid until %s", orNone(c.AppID), orNone(c.ObjectID), orNone(c.TenantID), c.Audience, c.Expires.UTC().Format(time.RFC3339))
	if g, ok := q.grant(); ok && q.special() == "" && g.Identity.ClientID != "" && c.AppID != "" && !strings.EqualFold(c.AppID, g.Identity.ClientID) {
		return broken("%s; AzureIdentity %s/%s says client id %s", said, g.Identity.Namespace, g.Identity.Name, g.Identity.ClientID).
			mend("az identity show --ids %s --query clientId   # and write it into spec.clientID", g.Identity.ResourceID)
	}
	return ok("%s", said)
}

// refused is the agent's refusal in its own words, and what to do about it.
func (q *inquiry) refused() Step {
	a := q.Answer
	s := broken("nmi answers %d: %s", a.Status, a.Says)
	g, chosen := q.grant()
	switch a.Reason {
	case "unassigned":
		return q.notOnNode(s)
	case "not_bound", "no_binding", "no_label":
		if a.Retry {
			s.State = Waiting
		}
	case "definition":
		if chosen && a.Retry {
			return s.mend("kubectl describe secret -n %s %s", g.Identity.Application.SecretNamespace, g.Identity.Application.SecretName)
		}
	case "rejected":
		if chosen {
			return s.mend("%s", q.mendRejected())
		}
	case "too_many":
		s.State = Waiting
		return s.mend("ask again; docs/metrics.md, too_many")
	case "unavailable":
		return s.mend("podid doctor   # can node %s reach the metadata service and Entra ID?", a.Node)
	default:
	}
	return s
}

// notOnNode says what it means that the metadata service of the node does not know
// the identity: it is on its way, or it goes by another id.
func (q *inquiry) notOnNode(s Step) Step {
	g, chosen := q.grant()
	if !chosen || !g.Ready || g.Identity.Type != v1.UserAssignedMSI {
		if q.Answer.Retry {
			s.State = Waiting
		}
		return s
	}
	if q.Now.Sub(q.Pod.CreationTimestamp.Time) < settled {
		s.State = Waiting
	}
	s.Evidence += fmt.Sprintf("; the AzureIdentity says client id %s", orNone(g.Identity.ClientID))
	if g.Identity.ResourceID != "" {
		return s.mend("az identity show --ids %s --query clientId   # the same as spec.clientID of AzureIdentity %s/%s?", g.Identity.ResourceID, g.Identity.Namespace, g.Identity.Name)
	}
	return s.mend("az vm identity show, or az vmss identity show: is client id %s on the node?", g.Identity.ClientID)
}

// mendRejected is what to do when Azure refuses.
func (q *inquiry) mendRejected() command {
	g, _ := q.grant()
	id := g.Identity
	secret := script("kubectl create secret generic -n %s %s %s --dry-run=client -o yaml | kubectl apply -f -", id.Application.SecretNamespace, id.Application.SecretName, from(id.Type))
	switch says := q.Answer.Says; {
	case strings.Contains(says, "secret") && strings.Contains(says, "has expired"), strings.Contains(says, "secret") && strings.Contains(says, "is wrong"):
		return script("az ad app credential reset --id %s --append --query password\n%s", id.ClientID, secret)
	case strings.Contains(says, "certificate"):
		return secret
	case strings.Contains(says, "check clientID"), strings.Contains(says, "tenantID"):
		return script("kubectl edit azureidentity -n %s %s   # spec.clientID, spec.tenantID", id.Namespace, id.Name)
	case strings.Contains(says, "resource"):
		return "have the client ask for a resource that the tenant knows"
	default:
		return script("kubectl get azureidentity -n %s %s -o yaml   # and compare with what Azure says", id.Namespace, id.Name)
	}
}
