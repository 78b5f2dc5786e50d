package explain

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podid-io/podid/internal/identity"
)

// Reached says, by the agent's own words, whether what a pod asks comes to it and is
// known to be that pod's: OK, or why not.
func Reached(a *Answer, f *Facts) Step {
	of := *f
	of.Answer = a
	return (&inquiry{Facts: &of}).answered()
}

// disagreement tells of an agent that chose by other objects than those that were
// read: what it hands out is then not what the steps before speak of.
func (q *inquiry) disagreement() (s Step, differs bool) {
	a, state := q.Answer, Broken
	if q.Now.Sub(q.changed()) < soon {
		state = Waiting
	}
	mend := func(s Step) (Step, bool) {
		s.State = state
		return s.mend("podid explain pod/%s -n %s   # again, and if it stays:\nkubectl logs -n %s -l app.kubernetes.io/name=podid,app.kubernetes.io/component=nmi --field-selector spec.nodeName=%s --tail=50", q.Pod.Name, q.Pod.Namespace, q.System, a.Node), true
	}
	read := ""
	if e := q.found.Exception; e != nil {
		read = e.Namespace + "/" + e.Name
	}
	if q.Unread["azurepodidentityexceptions"] == nil && a.Exception != read {
		return mend(broken("nmi on node %s has the pod fall under AzurePodIdentityException %s, and by the API server's objects it is %s", a.Node, orNone(a.Exception), orNone(read)))
	}
	selected := a.Claims != nil || a.Outcome == SelectedOutcome || a.Status == 200
	if !selected || q.special() != "" || q.Unread["azureidentities"] != nil || q.Unread["azureidentitybindings"] != nil {
		return Step{}, false
	}
	name := ""
	if g, chosen := q.grant(); chosen {
		name = g.Identity.Namespace + "/" + g.Identity.Name
	}
	if a.Identity == name {
		return Step{}, false
	}
	return mend(broken("nmi on node %s gives the pod AzureIdentity %s, and by the API server's objects it is %s", a.Node, orNone(a.Identity), orNone(name)))
}

// changed is when something that decides of the pod was changed last, as far as the
// objects tell.
func (q *inquiry) changed() time.Time {
	last := time.Time{}
	look := func(m *metav1.ObjectMeta) {
		if m.CreationTimestamp.After(last) {
			last = m.CreationTimestamp.Time
		}
		for _, f := range m.ManagedFields {
			if f.Time != nil && f.Subresource == "" && f.Time.After(last) {
				last = f.Time.Time
			}
		}
	}
	look(&q.Pod.ObjectMeta)
	for i := range q.Objects.Identities {
		look(&q.Objects.Identities[i].ObjectMeta)
	}
	for i := range q.Objects.Bindings {
		look(&q.Objects.Bindings[i].ObjectMeta)
	}
	for i := range q.Objects.Exceptions {
		look(&q.Objects.Exceptions[i].ObjectMeta)
	}
	for i := range q.Objects.Namespaces {
		look(&q.Objects.Namespaces[i].ObjectMeta)
	}
	return last
}

// unsure takes back what flags of nmi could turn, a refusal or a grant, where neither
// nmi nor its pods say which it has.
func (q *inquiry) unsure(r *Report) {
	if q.Unread["agents"] == nil || q.Answer != nil || q.special() != "" {
		return
	}
	q.perhapsManaged(r)
	open := *q.Facts
	open.Agent.Rules.AcrossNamespaces = true
	open.Agent.Rules.ExceptionNamespaces = []string{identity.EveryNamespace}
	w := settle(&open)
	mine, granted := q.grant()
	if granted {
		theirs, _ := w.grant()
		q.doubt(r, w.special(), mine.Identity.Namespace+"/"+mine.Identity.Name, theirs.Identity.Namespace+"/"+theirs.Identity.Name)
		return
	}
	if w.special() == "" && w.decision.Outcome == q.decision.Outcome && !q.Narrowed {
		return
	}
	for i := range r.Steps {
		s := &r.Steps[i]
		if s.State == Broken && (s.Name == LabelStep || s.Name == BindingStep || s.Name == IdentityStep) {
			s.State = Unknown
			s.Evidence += "; this is by the defaults of nmi: its pods cannot be read, and its flags --allow-cross-namespace and --exception-namespaces may say otherwise"
		}
	}
}

// perhapsManaged takes back that the identity is not on the machine yet.
func (q *inquiry) perhapsManaged(r *Report) {
	for i := range r.Steps {
		if s := &r.Steps[i]; s.Name == AssignmentStep && (s.State == Broken || s.State == Waiting) {
			s.State = Unknown
			s.Evidence += "; nmi may run in managed mode, where none is needed: its pods cannot be read"
		}
	}
}

// doubt takes back a grant: with other flags the pod has another way to a token, or
// another identity.
func (q *inquiry) doubt(r *Report, special, mine, theirs string) {
	name, other := LabelStep, special
	switch {
	case special != "":
	case mine != theirs:
		name, other = IdentityStep, "it gets AzureIdentity "+theirs
	case q.Narrowed && q.found.Pod.Selector != "":
		name, other = IdentityStep, "it may get another: other namespaces could not be read, and they may count"
	default:
		return
	}
	for i := range r.Steps {
		if s := &r.Steps[i]; s.Name == name && s.State == OK {
			s.State = Unknown
			s.Evidence += "; this is by the defaults of nmi, whose pods cannot be read: with --exception-namespaces or --allow-cross-namespace " + other
		}
	}
}
