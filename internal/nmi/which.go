package nmi

import (
	"context"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/imds"
	"github.com/podid-io/podid/internal/nodeview"
	"github.com/podid-io/podid/internal/token"
)

// decide goes from a pod to the answer.
func (s *Server) decide(ctx context.Context, found *nodeview.Found, q query, changed <-chan struct{}) answer {
	m := &s.config.Controller
	switch {
	case m.ServiceAccount != "" && found.Pod.ServiceAccount == m.ServiceAccount && found.Pod.Namespace == m.Namespace:
		return s.controller(ctx, found.Pod, q, changed)
	case found.Exception != nil:
		return s.excepted(ctx, found, q, changed)
	}
	d := identity.Select(found.Pod, found.Grants, identity.Selector(q.Selector), q.now)
	if d.Outcome == identity.Selected {
		a := s.granted(ctx, found.Pod, d.Grant, q, changed)
		s.remember(&a, q)
		return a
	}
	if d.Reason == identity.NotBound && q.Selector.ObjectID != "" {
		if a, ok := s.byObjectID(ctx, found, q, changed); ok {
			s.remember(&a, q)
			return a
		}
	}
	a := refuse(found.Pod, d.Because(found.Barred, identity.Selector(q.Selector)))
	a.changed = changed
	return a
}

// remember notes what an identity was asked for, when the pod got its token.
func (s *Server) remember(a *answer, q query) {
	if a.err == nil && !a.again && !q.trial {
		s.history.asked(a.identity, q.Resource, q.now)
	}
}

// granted gets the token of a grant.
func (s *Server) granted(ctx context.Context, pod identity.Pod, g identity.Grant, q query, changed <-chan struct{}) answer {
	req, wake, err := s.request(g.Identity, q)
	if err != nil {
		return s.unusable(pod, g, err, wake, changed)
	}
	return s.get(ctx, pod, g.Identity, &req, q, changed)
}

// byObjectID looks for the identity with the object id that the pod asks for
// among those of which the AzureIdentity does not say it: their tokens do. One
// that has to be waited for does not hide another that is there.
func (s *Server) byObjectID(ctx context.Context, found *nodeview.Found, q query, changed <-chan struct{}) (answer, bool) {
	var pending answer
	for _, g := range found.Grants {
		if g.Identity.ObjectID != "" {
			continue
		}
		a := refuse(found.Pod, identity.Decision{Outcome: identity.Pending, Reason: identity.Unassigned, Grant: g})
		a.changed = changed
		if g.Ready {
			a = s.granted(ctx, found.Pod, g, q, changed)
		}
		switch {
		case a.again && (!pending.again || (a.fetch && !pending.fetch)):
			pending = a
		case a.again: // it can wake by more than the first one does
			pending.pause = pending.pause || a.pause || a.wake != nil
		case a.err == nil && strings.EqualFold(a.token.ObjectID, q.Selector.ObjectID):
			return a, true
		}
	}
	return pending, pending.again
}

// refuse says in words and in kind why there is no token.
func refuse(pod identity.Pod, d identity.Decision) answer {
	a := answer{pod: pod, identity: d.Grant.Identity, outcome: denied, reason: d.Reason}
	switch d.Outcome {
	case identity.Pending:
		a.outcome, a.again = notReady, true
		a.err = imds.Errorf(imds.NotReady, "the identity %s/%s is on its way to this node; try again", a.identity.Namespace, a.identity.Name)
	case identity.NotYet:
		a.outcome = notReady
		a.err = imds.Errorf(imds.NotReady, "%s yet; try again", denial(pod, d))
	default:
		a.err = imds.Errorf(imds.Denied, "%s", denial(pod, d))
	}
	return a
}

// denial is what a person needs to know of a refusal.
func denial(pod identity.Pod, d identity.Decision) string {
	switch d.Reason {
	case identity.NoLabel:
		return "pod " + pod.Namespace + "/" + pod.Name + " has no label " + v1.LabelBinding
	case identity.NoBinding:
		if pod.Selector == "" {
			return "no AzureIdentityBinding of namespace " + pod.Namespace + " has the name \"" + pod.NamespaceBinding + "\" that the annotation of the namespace gives"
		}
		return "no AzureIdentityBinding in namespace " + pod.Namespace + " has the selector \"" + pod.Selector + "\" of pod " + pod.Name
	case identity.NotBound:
		return "pod " + pod.Namespace + "/" + pod.Name + " is not bound to the identity that it asks for"
	case identity.NotAllowed:
		return "pod " + pod.Namespace + "/" + pod.Name + " of service account " + pod.ServiceAccount + " may not use the identity that it is bound to: " + d.By + " does not name it"
	case identity.NotSupported:
		return fmt.Sprintf("AzureIdentity %s/%s is of a type (%d) that is not served, or names no identity", d.Grant.Identity.Namespace, d.Grant.Identity.Name, d.Grant.Identity.Type)
	default:
		return string(d.Reason)
	}
}

// controller answers mic: its own identity, for Azure Resource Manager alone.
func (s *Server) controller(ctx context.Context, pod identity.Pod, q query, changed <-chan struct{}) answer {
	m := &s.config.Controller
	asked := q.Selector
	isARM := slices.ContainsFunc(m.Resources, func(known string) bool {
		return strings.EqualFold(strings.TrimRight(q.Resource, "/"), known)
	})
	if !isARM || asked.ObjectID != "" || asked.ResourceID != "" ||
		(asked.ClientID != "" && !strings.EqualFold(asked.ClientID, m.ClientID)) {
		return answer{
			pod: pod, outcome: denied, reason: reasonController,
			err: imds.Errorf(imds.Denied, "mic may ask for its own identity and for Azure Resource Manager only"),
		}
	}
	clientID := strings.ToLower(m.ClientID)
	id := identity.Identity{Namespace: m.Namespace, Name: m.ServiceAccount, ClientID: clientID}
	return s.get(ctx, pod, id, &token.Request{ClientID: clientID, VM: m.VM, Resource: q.Resource, Capabilities: q.Capabilities}, q, changed)
}

// excepted answers a pod that an AzurePodIdentityException lets through to the
// metadata service: whatever identity of the VM it names, or the VM's own.
func (s *Server) excepted(ctx context.Context, found *nodeview.Found, q query, changed <-chan struct{}) answer {
	req := token.Request{
		ClientID:   strings.ToLower(strings.Clone(q.Selector.ClientID)), // see detach
		ObjectID:   strings.ToLower(strings.Clone(q.Selector.ObjectID)),
		ResourceID: strings.ToLower(strings.Clone(q.Selector.ResourceID)),
		VM:         q.Selector == imds.Selector{},
		Resource:   q.Resource, Capabilities: q.Capabilities,
	}
	// No AzureIdentity is at work here: what the audit log names is the exception.
	id := identity.Identity{Namespace: found.Exception.Namespace, Name: found.Exception.Name, ClientID: req.ClientID}
	a := s.get(ctx, found.Pod, id, &req, q, changed)
	switch {
	case a.err == nil && !a.again:
		a.reason = reasonException
	case a.reason == identity.Unassigned: // nobody puts it on the VM: nothing is on its way
		a.outcome, a.again, a.pause = denied, false, false
		a.err = imds.Errorf(imds.Denied, "the metadata service of the node knows no such identity")
	}
	return a
}
