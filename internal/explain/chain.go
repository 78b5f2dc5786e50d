package explain

import (
	"github.com/podid-io/podid/internal/identity"
)

// Chain makes the report of a pod.
//
//	pod -> label -> binding -> identity -> assignment -> node -> agent -> network -> token
//
// It says OK only where nmi's own decision, made of the same objects, is to hand
// out a token; see backstop.
func Chain(f *Facts) *Report {
	q := settle(f)
	r := &Report{Pod: q.podName(), Node: f.Pod.Spec.NodeName, DryRun: f.DryRun}
	for _, s := range []struct {
		name string
		make func() Step
	}{
		{PodStep, q.pod},
		{LabelStep, q.label},
		{BindingStep, q.binding},
		{IdentityStep, q.identity},
		{AssignmentStep, q.assignment},
		{NodeStep, q.node},
		{AgentStep, q.agent},
		{NetworkStep, q.network},
		{TokenStep, func() Step { return q.token(r) }},
	} {
		step := s.make()
		step.Name = s.name
		r.Steps = append(r.Steps, step)
	}
	q.backstop(r)
	q.unsure(r)
	if g, ok := q.grant(); ok && q.special() == "" {
		r.Identity = g.Identity.Namespace + "/" + g.Identity.Name
	}
	if f.Answer != nil && f.Answer.PodUID == string(f.Pod.UID) {
		r.Claims = f.Answer.Claims
	}
	switch {
	case f.Unread["agents"] != nil && f.Answer == nil:
		r.Notes = append(r.Notes, "the agent could not be asked, and its pods cannot be read: what is said of bindings is by nmi's defaults")
	case f.Answer == nil && !f.DryRun:
		r.Notes = append(r.Notes, "the agent could not be asked: what is said of bindings is by the flags that its pod shows")
	}
	r.conclude()
	return r
}

// backstop sees to it that no report is better than the decision: the steps look
// for reasons, and a reason that none of them knows is a refusal all the same.
func (q *inquiry) backstop(r *Report) {
	if q.special() != "" {
		return
	}
	var name string
	state := Broken
	switch d := q.decision; {
	case d.Outcome == identity.Selected:
		return
	case d.Outcome == identity.Pending:
		name, state = AssignmentStep, Waiting
	case d.Reason == identity.NoLabel:
		name = LabelStep
	case d.Reason == identity.NoBinding:
		name = BindingStep
	default:
		name = IdentityStep
	}
	said := []State{Broken, Unknown}
	if state == Waiting {
		said = append(said, Waiting)
	}
	if before(r, said...) || q.DryRun && state == Waiting {
		return // it is told already, or known not to be known, or is for later
	}
	for i := range r.Steps {
		if s := &r.Steps[i]; s.Name == name {
			s.State = state
			s.Evidence = "nmi refuses the pod: " + string(q.decision.Reason) + "; " + s.Evidence
		}
	}
}
