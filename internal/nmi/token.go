package nmi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/imds"
	"github.com/podid-io/podid/internal/token"
)

// answer is what one look at the world gave for a request: a token, a final
// error, or a reason to look again.
type answer struct {
	source   netip.Addr
	pod      identity.Pod
	identity identity.Identity
	token    token.Token
	outcome  outcome
	reason   identity.Reason
	err      error

	// again says that the answer may change by itself: when changed closes, or
	// after a pause if there is one.
	again   bool
	changed <-chan struct{}
	pause   bool
}

// token answers a request for a token.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	req, err := imds.ParseToken(r)
	var a answer
	if err != nil {
		a = answer{outcome: badRequest, err: err}
	} else {
		a = s.hold(r.Context(), r, req, start)
	}
	if a.err != nil && r.Context().Err() != nil {
		a.outcome = canceled // most likely nobody reads the answer
	}
	if a.outcome != badRequest && a.outcome != canceled {
		if err := s.config.Audit.record(req.Resource, &a, start); err != nil { // no token without its line
			a.outcome, a.err = failed, &imds.Error{Kind: imds.Unavailable, Description: "the audit log cannot be written", Err: err}
		}
	}
	write(w, req, a)
	s.config.Metrics.observe(a.outcome, time.Since(start))
}

// write sends the answer.
func write(w http.ResponseWriter, req imds.TokenRequest, a answer) {
	if a.err != nil {
		imds.WriteError(w, a.err)
		return
	}
	t := imds.NewTokenResponse(string(a.token.Value), req.Resource, a.token.NotBefore, a.token.ExpiresOn, time.Now())
	if t.ClientID = a.identity.ClientID; t.ClientID == "" {
		t.ClientID = a.token.ClientID
	}
	t.ObjectID = req.Selector.ObjectID
	t.ResourceID = req.Selector.ResourceID
	imds.WriteToken(w, t)
}

// hold looks until the answer is final, for at most the time that requests are
// held. It wakes at once when the view of the node changes.
func (s *Server) hold(ctx context.Context, r *http.Request, req imds.TokenRequest, start time.Time) answer {
	a := s.look(ctx, r, req)
	if !a.again {
		return a
	}
	if !s.holds.begin(a.source) {
		a.outcome, a.reason = denied, reasonTooMany
		a.err = &imds.Error{Kind: imds.Overloaded, Description: "too many requests wait already; try again", RetryAfter: 2 * time.Second}
		return a
	}
	defer s.holds.end(a.source)
	s.config.Metrics.held.Inc()
	defer s.config.Metrics.held.Dec()
	ctx, cancel := context.WithDeadline(ctx, start.Add(s.config.Hold))
	defer cancel()
	for pause := 250 * time.Millisecond; a.again; {
		var timer <-chan time.Time
		if a.pause {
			timer = time.After(pause)
			pause = min(2*pause, 5*time.Second)
		}
		select {
		case <-a.changed:
		case <-timer:
		case <-ctx.Done():
			return a
		}
		next := s.look(ctx, r, req)
		if ctx.Err() != nil && next.err != nil {
			return a // its error would be that the time is over; a's says what was missing
		}
		a = next
	}
	return a
}

// look goes once all the way: who, which, token.
func (s *Server) look(ctx context.Context, r *http.Request, req imds.TokenRequest) answer {
	c, ok := r.Context().Value(callerKey{}).(*caller)
	if !ok {
		return answer{outcome: failed, err: imds.Errorf(imds.Internal, "the request came without a connection")}
	}
	source, link, err := c.source(s.config.Origins, s.config.Metadata)
	if err != nil {
		o := denied
		if imds.Status(err) == http.StatusInternalServerError {
			o = failed
		}
		return answer{outcome: o, reason: reasonOrigin, err: err}
	}
	a := s.decide(ctx, c, source, link, req)
	a.source = source
	return a
}

// decide goes from an address to the answer.
func (s *Server) decide(ctx context.Context, c *caller, source netip.Addr, link int, req imds.TokenRequest) answer {
	found, changed, err := s.config.Pods.ByIP(source, link)
	if err != nil {
		return answer{
			outcome: notReady, reason: reasonUnknownPod, again: true, changed: changed,
			err: imds.Errorf(imds.NotReady, "%s: %v; try again", source, err),
		}
	}
	if !c.pin(found.Pod.UID) {
		return answer{pod: found.Pod, outcome: denied, reason: reasonOrigin, err: imds.Errorf(imds.NotReady, "the address %s belongs to another pod now: connect again", source)}
	}
	if m := s.config.Controller; m.ServiceAccount != "" && found.Pod.ServiceAccount == m.ServiceAccount && found.Pod.Namespace == m.Namespace {
		return s.controller(ctx, found.Pod, req, changed)
	}
	d := identity.Select(found.Pod, found.Grants, identity.Selector(req.Selector), time.Now())
	if d.Outcome != identity.Selected {
		a := refuse(found.Pod, d)
		a.changed = changed
		return a
	}
	id := d.Grant.Identity
	if id.Type != v1.UserAssignedMSI || (id.ClientID == "" && id.ResourceID == "") {
		return refuse(found.Pod, identity.Decision{Outcome: identity.Denied, Reason: identity.NotSupported, Grant: d.Grant})
	}
	return s.get(ctx, found.Pod, id, token.Request{
		Type: id.Type, ResourceID: id.ResourceID, ClientID: id.ClientID, ObjectID: id.ObjectID, Resource: req.Resource,
	}, changed)
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
		return "no AzureIdentityBinding in namespace " + pod.Namespace + " has the selector \"" + pod.Selector + "\" of pod " + pod.Name
	case identity.NotBound:
		return "pod " + pod.Namespace + "/" + pod.Name + " is not bound to the identity that it asks for"
	case identity.NotSupported:
		return fmt.Sprintf("AzureIdentity %s/%s is of a type (%d) that is not served yet, or names no identity", d.Grant.Identity.Namespace, d.Grant.Identity.Name, d.Grant.Identity.Type)
	default:
		return string(d.Reason)
	}
}

// controller answers mic: its own identity, for Azure Resource Manager alone.
func (s *Server) controller(ctx context.Context, pod identity.Pod, req imds.TokenRequest, changed <-chan struct{}) answer {
	m := s.config.Controller
	asked := req.Selector
	isARM := slices.ContainsFunc(m.Resources, func(known string) bool {
		return strings.EqualFold(strings.TrimRight(req.Resource, "/"), known)
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
	return s.get(ctx, pod, id, token.Request{ClientID: clientID, VM: m.VM, Resource: req.Resource}, changed)
}

// get asks for the token of an identity that the pod is entitled to.
func (s *Server) get(ctx context.Context, pod identity.Pod, id identity.Identity, req token.Request, changed <-chan struct{}) answer {
	t, how, err := s.config.Tokens.Get(ctx, &req, token.Ask{Owner: pod.UID})
	if err == nil {
		return answer{pod: pod, identity: id, token: t, outcome: outcome(how)}
	}
	a := answer{pod: pod, identity: id, outcome: unavailable, changed: changed, again: true, pause: true}
	switch kind := token.KindOf(err); {
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		a.outcome, a.again, a.err = canceled, false, err
	case kind == token.NotThere:
		a.outcome, a.reason = notReady, identity.Unassigned
		a.err = &imds.Error{Kind: imds.NotReady, Description: "the metadata service of the node does not know the identity yet; try again", Err: err}
	case kind == token.Busy:
		a.again, a.err = false, &imds.Error{Kind: imds.Overloaded, Description: "too many tokens are being waited for already; try again", RetryAfter: 2 * time.Second}
	case kind == token.Rejected:
		a.outcome, a.again, a.reason = denied, false, reasonRejected
		a.err = &imds.Error{Kind: imds.BadRequest, Description: err.Error()}
	default:
		a.err = &imds.Error{Kind: imds.NotReady, Description: "the metadata service of the node does not answer; try again", Err: err}
	}
	return a
}
