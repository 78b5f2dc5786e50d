package explain

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
)

// soon is how long mic may take to see that a pod is bound.
const soon = time.Minute

// assignment looks for the identity on the pod's machine.
func (q *inquiry) assignment() Step {
	g, chosen := q.grant()
	switch {
	case q.special() != "":
		return skipped("none is needed")
	case !chosen:
		return skipped("there is no identity to assign")
	case g.Identity.Type != v1.UserAssignedMSI:
		return ok("none is needed: nmi signs in as the application itself")
	case q.settings.Managed:
		return ok("none is watched: nmi runs in managed mode, and takes the identity to be on the node already")
	case q.DryRun:
		return skipped("mic puts %s/%s on the pod's machine when the pod is on a node", g.Identity.Namespace, g.Identity.Name)
	case q.Unread["azureassignedidentities"] != nil:
		return unknown("AzureAssignedIdentities cannot be read: %v", q.Unread["azureassignedidentities"])
	}
	mine, other := q.assigned(g)
	switch {
	case g.Ready && mine != nil:
		return ok("AzureAssignedIdentity %s/%s says %s; made %s ago", mine.Namespace, mine.Name, stateOf(mine), since(q.Now, mine.CreationTimestamp.Time))
	case g.Ready:
		return ok("an AzureAssignedIdentity says that it is on the node")
	case mine == nil && other != nil:
		return q.notYet(g, fmt.Sprintf("AzureAssignedIdentity %s/%s is of what AzureIdentity %s was before it was edited", other.Namespace, other.Name, g.Identity.Name), other.CreationTimestamp.Time)
	case mine == nil:
		return q.unassigned(g)
	default:
		return q.notYet(g, fmt.Sprintf("AzureAssignedIdentity %s/%s says %s since %s", mine.Namespace, mine.Name, stateOf(mine), since(q.Now, mine.CreationTimestamp.Time)), mine.CreationTimestamp.Time)
	}
}

func stateOf(o *v1.AzureAssignedIdentity) string {
	if o.Status.Status == "" {
		return "nothing, which means Assigned"
	}
	return string(o.Status.Status)
}

// assigned finds the object for the pod and the identity as it is defined, and one
// for the identity as it was.
func (q *inquiry) assigned(g identity.Grant) (mine, other *v1.AzureAssignedIdentity) {
	for i := range q.Objects.Assigned {
		o := &q.Objects.Assigned[i]
		ref := o.Spec.AzureIdentityRef
		if o.Spec.Pod != q.Pod.Name || o.Spec.PodNamespace != q.Pod.Namespace || ref == nil ||
			o.Spec.PodUID != "" && o.Spec.PodUID != string(q.Pod.UID) ||
			ref.Namespace != g.Identity.Namespace || ref.Name != g.Identity.Name {
			continue
		}
		spec := ref.Spec.Canonical()
		if strings.EqualFold(spec.ResourceID, g.Identity.ResourceID) && strings.EqualFold(spec.ClientID, g.Identity.ClientID) {
			mine = o
		} else {
			other = o
		}
	}
	return mine, other
}

// unassigned says why there is no object.
func (q *inquiry) unassigned(g identity.Grant) Step {
	if q.Pod.Spec.NodeName == "" {
		return waiting("the pod is on no node yet")
	}
	scheduled := q.Pod.CreationTimestamp.Time
	for _, c := range q.Pod.Status.Conditions {
		if c.Type == "PodScheduled" && c.LastTransitionTime.After(scheduled) {
			scheduled = c.LastTransitionTime.Time
		}
	}
	return q.notYet(g, "there is no AzureAssignedIdentity for the pod", scheduled)
}

// notYet says why the identity is not on the machine: mic's own words, or that no
// mic is there to do it.
func (q *inquiry) notYet(g identity.Grant, what string, began time.Time) Step {
	if o := q.object(g); o != nil {
		c := meta.FindStatusCondition(o.Status.Conditions, v1.ConditionAttached)
		if c != nil && c.Status == metav1.ConditionFalse && c.Reason != v1.ReasonAttaching && c.ObservedGeneration == o.Generation {
			s := broken("%s: AzureIdentity %s/%s is not attached (%s since %s): %s", what, o.Namespace, o.Name, c.Reason, since(q.Now, c.LastTransitionTime.Time), c.Message)
			return s.mend("%s", mendAttach(c, g))
		}
	}
	switch {
	case q.Unread["leases"] != nil:
		return waiting("%s; whether a mic is there to change that, could not be read: %v", what, q.Unread["leases"])
	case q.MIC.Holder == "" && q.Unread["mic"] != nil: // its flags name the Lease
		return waiting("%s; whether a mic is there to change that, could not be read: %v", what, q.Unread["mic"])
	case !q.MIC.Leads(q.Now):
		return broken("%s, and no mic is at work: %s", what, q.MIC.absence(q.Now)).
			mend("kubectl get pods -n %s -l app.kubernetes.io/name=podid,app.kubernetes.io/component=mic", q.System)
	case what == "there is no AzureAssignedIdentity for the pod" && q.Now.Sub(began) > soon:
		return broken("%s after %s, though mic %s is at work", what, since(q.Now, began), q.MIC.Holder).
			mend("kubectl logs -n %s -l app.kubernetes.io/name=podid,app.kubernetes.io/component=mic --tail=50", q.System)
	default:
		return waiting("%s; mic %s is at work", what, q.MIC.Holder).
			mend("podid explain pod/%s -n %s   # again: Azure takes up to a minute", q.Pod.Name, q.Pod.Namespace)
	}
}

// mendAttach is what to do about an identity that Azure does not take.
func mendAttach(c *metav1.Condition, g identity.Grant) command {
	if strings.Contains(c.Message, "az role assignment create ") {
		return script("az role assignment create --assignee MIC --role 'Managed Identity Operator' --scope %s   # MIC: the object id of mic's own identity\npodid roles   # says who MIC is, and what else is missing", g.Identity.ResourceID)
	}
	if c.Reason == v1.ReasonInvalid {
		return script("kubectl edit azureidentity -n %s %s", g.Identity.Namespace, g.Identity.Name)
	}
	return "podid roles   # what mic may not do yet"
}

// absence says why no mic is at work.
func (m MIC) absence(now time.Time) string {
	switch {
	case len(m.Pods) == 0 && m.Holder == "":
		return "there is no pod of mic and nobody holds its Lease"
	case m.Holder == "":
		return "nobody holds its Lease"
	default:
		return fmt.Sprintf("%s holds the Lease and has renewed it last %s ago", m.Holder, since(now, m.Renewed))
	}
}
