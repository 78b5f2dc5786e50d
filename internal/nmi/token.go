package nmi

import (
	"context"
	"errors"
	"net/http"
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
	holder   holder
	source   string // the address that the connection came from
	pod      identity.Pod
	identity identity.Identity
	token    token.Token
	outcome  outcome
	reason   identity.Reason
	onHost   bool // asked for by the Key Vault CSI provider
	err      error

	// again says that the answer may change by itself: when changed or wake closes,
	// or after a pause if there is one. fetch says that it is there for the asking.
	again   bool
	fetch   bool
	changed <-chan struct{}
	wake    <-chan struct{}
	pause   bool
}

// query is a request for a token, and how far this look at it may go.
type query struct {
	imds.TokenRequest
	// now is when the request came, or when a later look began.
	now time.Time
	// wait allows to wait for Azure. The first look does not, so that whoever
	// waits for anything has a place among those who do.
	wait bool
	// trial says that no pod asked: nothing is remembered of it.
	trial bool
}

// token answers a pod's request for a token.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	c, a := s.admit(r, start)
	var req imds.TokenRequest
	if a.err == nil {
		if req, a.err = imds.ParseToken(r); a.err != nil {
			a.outcome = badRequest
		} else {
			a = s.hold(r.Context(), req, start, func(ctx context.Context, q query) answer { return s.look(ctx, c, q) })
		}
	}
	a.source = c.source
	s.conclude(r.Context(), req, &a, start)
	end := time.Now()
	s.slowDown(r.Context(), a.err)
	s.drains(w) // it may have begun meanwhile
	if a.err != nil {
		imds.WriteError(w, a.err)
	} else {
		imds.WriteToken(w, a.response(req, end))
	}
	s.config.Metrics.observe(onPod, &a, end.Sub(start))
}

// conclude leaves the traces of an answer that is about to be sent: its line in
// the audit log, without which there is no token, and an event for people.
func (s *Server) conclude(ctx context.Context, req imds.TokenRequest, a *answer, start time.Time) {
	a.settle(ctx.Err() != nil)
	if a.outcome == badRequest || a.outcome == canceled {
		return
	}
	if a.reason == reasonTooMany && !s.fair.mayComplain(a.holder, start) {
		return // a flood must not drown the lines of others
	}
	if err := s.config.Audit.record(req.Resource, a, start); err != nil {
		a.outcome, a.reason, a.err = failed, reasonFailed, &imds.Error{Kind: imds.Unavailable, Description: "the audit log cannot be written", Err: err}
	}
	if a.err != nil {
		s.tell.of(a)
	}
}

// slowDown lets a refusal of one request too many wait: whoever asks again at once
// would take more of the processor than all the others.
func (s *Server) slowDown(ctx context.Context, err error) {
	if !errors.Is(err, errTooMany) {
		return
	}
	select {
	case <-time.After(refusalPause):
	case <-ctx.Done():
	}
}

// settle gives an answer without a token its reason. A client that left most
// likely reads no answer, but a refusal stays one: who asks for what he may not
// have leaves a trace.
func (a *answer) settle(left bool) {
	switch {
	case a.err == nil:
		return
	case left && (a.outcome != denied || a.reason == reasonTooMany):
		a.outcome, a.reason = canceled, reasonCanceled
	case a.reason != "":
	case a.outcome == unavailable:
		a.reason = reasonUnavailable
	case a.outcome == badRequest:
		a.reason = reasonBadRequest
	default:
		a.reason = reasonFailed
	}
}

// response is the body of an answer with a token.
func (a *answer) response(req imds.TokenRequest, now time.Time) imds.TokenResponse {
	t := imds.NewTokenResponse(string(a.token.Value), req.Resource, a.token.NotBefore, a.token.ExpiresOn, now)
	if t.ClientID = a.identity.ClientID; t.ClientID == "" {
		t.ClientID = a.token.ClientID
	}
	t.ObjectID = req.Selector.ObjectID
	t.ResourceID = req.Selector.ResourceID
	return t
}

// hold looks until the answer is final, for at most the time that requests are
// held. It wakes at once when the view of the node changes.
func (s *Server) hold(ctx context.Context, req imds.TokenRequest, start time.Time, look func(context.Context, query) answer) answer {
	q := query{TokenRequest: req, now: start}
	a := look(ctx, q)
	if !a.again {
		return a
	}
	if !s.fair.begin(a.holder) {
		a.outcome, a.reason, a.err = denied, reasonTooMany, errTooMany
		return a
	}
	defer s.fair.end(a.holder)
	s.config.Metrics.held.Inc()
	defer s.config.Metrics.held.Dec()
	ctx, cancel := context.WithDeadline(ctx, start.Add(s.config.Hold))
	defer cancel()
	q.wait = true
	for pause := 250 * time.Millisecond; a.again; {
		if !a.fetch && !s.rest(ctx, &a, &pause) {
			return a
		}
		q.now = time.Now()
		next := look(ctx, q)
		if !a.fetch && next.takenAway() && settled(ctx) {
			q.now = time.Now()
			next = look(ctx, q)
		}
		if ctx.Err() != nil && next.err != nil && a.err != nil {
			return a // its error would be that the time is over; a's says what was missing
		}
		a = next
	}
	return a
}

// settling is how long the view is given to become whole again. A list that comes
// in place of what a watch has missed changes it object by object: between two of
// them a pod can seem to be bound to nothing, which never was. Whoever waits looks
// then, every time; who comes in that instant is refused like anybody.
const settling = 200 * time.Millisecond

// takenAway says whether who waits would be refused for what he is bound to.
func (a *answer) takenAway() bool {
	return !a.again && (a.reason == identity.NoBinding || a.reason == identity.NotBound)
}

// settled waits for settling; false when the time is over.
func settled(ctx context.Context) bool {
	select {
	case <-time.After(settling):
		return true
	case <-ctx.Done():
		return false
	}
}

// rest waits until it is worth to look again; false when the time is over.
func (s *Server) rest(ctx context.Context, a *answer, pause *time.Duration) bool {
	var timer <-chan time.Time
	if a.pause {
		timer = time.After(*pause)
		*pause = min(2**pause, 5*time.Second)
	}
	select {
	case <-a.changed:
		return true
	case <-a.wake:
		return true
	case <-timer:
		return true
	case <-ctx.Done():
		return false
	}
}

// look goes once all the way: who, which, token.
func (s *Server) look(ctx context.Context, c *caller, q query) answer {
	a := s.who(c)
	if a.err != nil {
		return a
	}
	found, changed, err := s.config.Pods.ByIP(c.origin.Source, c.origin.Interface)
	if err != nil {
		a.outcome, a.reason, a.again, a.changed = notReady, reasonUnknownPod, true, changed
		a.err = imds.Errorf(imds.NotReady, "%s: %v; try again", c.origin.Source, err)
		return a
	}
	if !c.pin(found.Pod.UID) {
		a.pod, a.outcome, a.reason = found.Pod, denied, reasonOrigin
		a.err = imds.Errorf(imds.NotReady, "the address %s belongs to another pod now: connect again", c.origin.Source)
		return a
	}
	a = s.decide(ctx, &found, q, changed)
	a.holder = c.holder
	return a
}

// get asks for the token of an identity that the pod is entitled to.
func (s *Server) get(ctx context.Context, pod identity.Pod, id identity.Identity, req *token.Request, q query, changed <-chan struct{}) answer {
	a := answer{pod: pod, identity: id, changed: changed}
	ask := token.Ask{Owner: pod.UID, Refused: q.Refused}
	t, how, ok := s.config.Tokens.Cached(req, ask)
	if !ok && !q.wait {
		a.outcome, a.again, a.fetch = unavailable, true, true
		return a
	}
	if !ok {
		detach(req)
		var err error
		if t, how, err = s.config.Tokens.Get(ctx, req, ask); err != nil {
			return failure(ctx, a, err)
		}
	}
	a.token, a.outcome = t, outcome(how)
	return a
}

// detach copies what is part of a longer text, the line of an HTTP request: the
// cache would keep all of that in memory with it. The ids of the identity are not:
// all its tokens share them.
func detach(req *token.Request) {
	for _, s := range []*string{&req.Resource, &req.Capabilities, &req.TenantID} {
		*s = strings.Clone(*s)
	}
}

// failure says what a failure of the source means for who asked.
func failure(ctx context.Context, a answer, err error) answer {
	switch kind := token.KindOf(err); {
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		a.outcome, a.err = canceled, err
	case kind == token.Busy:
		a.outcome, a.reason, a.err = denied, reasonTooMany, errTooMany
	case kind == token.NotThere:
		a.outcome, a.reason, a.again, a.pause = notReady, identity.Unassigned, true, true
		a.err = &imds.Error{Kind: imds.NotReady, Description: "the metadata service of the node does not know the identity yet; try again", Err: err}
	case kind == token.Rejected:
		a.outcome, a.reason = denied, reasonRejected
		a.err = &imds.Error{Kind: imds.BadRequest, Description: err.Error()}
	default:
		a.outcome, a.again, a.pause = unavailable, true, true
		a.err = &imds.Error{Kind: imds.NotReady, Description: sourceOf(a.identity) + " does not answer; try again", Err: err}
	}
	return a
}

// sourceOf names where the tokens of an identity come from.
func sourceOf(id identity.Identity) string {
	switch id.Type {
	case v1.UserAssignedMSI:
		return "the metadata service of the node"
	case v1.ServicePrincipal, v1.ServicePrincipalCertificate:
		return "Entra ID"
	default:
		return "the source of the token"
	}
}
