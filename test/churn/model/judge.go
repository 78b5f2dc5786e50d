package model

import (
	"fmt"
	"time"
)

// Reply is what came back on a connection.
type Reply struct {
	Status int
	// Token and Owner say whose token came, and for which pod (by uid) the agent
	// had it made.
	Token Token
	Owner string
	// Says is the body of a refusal, for people.
	Says string
}

// Call is a request under way, and what it may be answered with: everything that
// was right at any moment since it was sent.
type Call struct {
	Ask Ask
	// From is the sandbox that the connection was really made from. Forged is a
	// connection that only says so: its packets come from elsewhere.
	From   *Sandbox
	Forged bool
	// Pinned says that the connection has had a token before.
	Pinned bool
	Sent   time.Time
	// SureSince is since when a token is overdue; zero while none is.
	SureSince time.Time

	tokens map[Token]bool
	wait   bool // "ask again" is right
	deny   bool // "no" is right
}

// Law is a promise that the agent is held to.
type Law string

// The laws.
const (
	// Entitled: a token is of an identity that the pod really at the other end is
	// entitled to, by what the API server has told.
	Entitled Law = "a token is only ever of an identity of the pod that is really at the other end"
	// OnePod: what a connection is given is all for the one pod that made it.
	OnePod Law = "a connection is answered for the one pod that made it"
	// Served: a pod of which everything has been delivered gets its token.
	Served Law = "a pod of which everything has been delivered gets its token"
	// Final: a final refusal comes only when the pod is known and is entitled to
	// nothing that it asks for.
	Final Law = "a final refusal comes only where what was told really denies"
	// Woken: who waits is answered as soon as there is an answer.
	Woken Law = "whoever waits is answered as soon as there is an answer"
	// Orderly: nothing but a token, "ask again" and "no" is ever said.
	Orderly Law = "an answer is a token, ask again, or no"
)

// LawError is a broken law, and who broke it.
type LawError struct {
	Law  Law
	What string
}

func (w *LawError) Error() string { return string(w.Law) + ": " + w.What }

// Patience is how long a token may be overdue: the agent asks for few at a time.
const Patience = 3 * time.Second

// See takes in what is right at this moment.
func (c *Call) See(n *Node, told *Objects, now time.Time) {
	p, known := told.told(c.From)
	c.deny = c.deny || c.Forged || c.From.Gone
	if c.Forged || !known {
		c.wait, c.SureSince = true, time.Time{}
		return
	}
	v := told.Of(&p, c.Ask, now)
	sure := n.Sure(c.From, told)
	c.wait = c.wait || !sure || v.Answer == Hold || v.Answer == NotYet
	c.deny = c.deny || v.Answer == Deny
	if v.Answer == Give {
		c.allow(v.Token)
	}
	switch {
	case !sure || v.Answer != Give:
		c.SureSince = time.Time{}
	case c.SureSince.IsZero():
		c.SureSince = now
	}
}

// SeeAll takes in that objects change one after the other: see Objects.All.
func (c *Call) SeeAll(told *Objects) {
	if p, known := told.told(c.From); known && !c.Forged {
		for _, t := range told.All(&p, c.Ask) {
			c.allow(t)
		}
	}
}

func (c *Call) allow(t Token) {
	if c.tokens == nil {
		c.tokens = make(map[Token]bool, 1)
	}
	c.tokens[t] = true
}

// Judge says what is wrong with a reply; nil for nothing.
func (c *Call) Judge(r Reply) *LawError {
	switch r.Status {
	case 200:
		switch {
		case c.Pinned && r.Owner != c.From.UID:
			return &LawError{OnePod, fmt.Sprintf("a connection of pod %v (%s), which had had its tokens, got one of %s", c.From.Pod, c.From.UID, r.Owner)}
		case c.Forged:
			return &LawError{Entitled, fmt.Sprintf("forged packets in the name of %s got %v", c.From.Pod, r.Token)}
		case !c.tokens[r.Token]:
			return &LawError{Entitled, fmt.Sprintf("pod %v (%s) asked for %v and got %v of %s; right would be %v", c.From.Pod, c.From.UID, c.Ask, r.Token, r.Owner, c.tokens)}
		case r.Owner != c.From.UID:
			return &LawError{OnePod, fmt.Sprintf("the connection of pod %v (%s) was answered for %s", c.From.Pod, c.From.UID, r.Owner)}
		}
	case 400:
		if !c.deny {
			return &LawError{Final, fmt.Sprintf("pod %v (%s) asked for %v and was refused for good: %s", c.From.Pod, c.From.UID, c.Ask, r.Says)}
		}
	case 404:
		if !c.wait {
			return &LawError{Served, fmt.Sprintf("pod %v (%s) asked for %v and was told to ask again: %s", c.From.Pod, c.From.UID, c.Ask, r.Says)}
		}
	default:
		return &LawError{Orderly, fmt.Sprintf("pod %v (%s) asked for %v and was answered %d: %s", c.From.Pod, c.From.UID, c.Ask, r.Status, r.Says)}
	}
	return nil
}

// Overdue says what is wrong with there being no reply yet; nil for nothing.
func (c *Call) Overdue(now time.Time) *LawError {
	if c.SureSince.IsZero() || now.Sub(c.SureSince) <= Patience {
		return nil
	}
	law := Served
	if c.SureSince.After(c.Sent) {
		law = Woken
	}
	return &LawError{law, fmt.Sprintf("pod %v (%s) asked for %v at %s and has waited since %s", c.From.Pod, c.From.UID, c.Ask, c.Sent.Format(time.TimeOnly), c.SureSince.Format(time.TimeOnly))}
}
