package model

import (
	"fmt"
	"net/netip"
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
	// Source is the address that it was made from; the zero value for From.Addr.
	Source netip.Addr
	// Doubted is a connection that was first used while another pod had its address
	// too: where it comes from is found out then, and for good.
	Doubted bool
	// Pinned says that the connection has had a token before.
	Pinned bool
	// Idle is for how long the connection had not been used before.
	Idle time.Duration
	Sent time.Time
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
	// Answered: a request has its answer within the time that requests are held.
	Answered Law = "a request is answered in time"
	// Kept: nobody is hung up on who has asked, has just been answered, or has just
	// come.
	Kept Law = "nobody is hung up on"
	// Shed: who comes and asks nothing is hung up on.
	Shed Law = "a new connection on which nothing is asked is closed"
	// Absent: where the agent is away, nobody answers in its place.
	Absent Law = "nobody answers where there is no agent"
)

// LawError is a broken law, and who broke it.
type LawError struct {
	Law  Law
	What string
}

func (w *LawError) Error() string { return string(w.Law) + ": " + w.What }

// Patience is how long a token may be overdue: the agent asks for few at a time.
const Patience = 3 * time.Second

const (
	// HeldFor is how long a request is held at most.
	HeldFor = 50 * time.Second
	// IdleFor is how long a connection is kept on which nothing is asked.
	IdleFor = 90 * time.Second
	// SilentFor is how long a new connection is kept on which nothing has been
	// asked yet.
	SilentFor = 5 * time.Second
	// ShedBy is when such a connection is closed at the latest.
	ShedBy = 8 * time.Second
)

// See takes in what is right at this moment.
func (c *Call) See(n *Node, told *Objects, now time.Time) {
	p, known := told.told(c.From)
	c.deny = c.deny || c.Forged || c.From.Gone || c.Doubted
	if c.Forged || !known {
		c.wait, c.SureSince = true, time.Time{}
		return
	}
	source := c.Source
	if !source.IsValid() {
		source = c.From.Addr
	}
	twins, ambiguous := n.Twins(c.From, source, told)
	c.see(told.Of(&p, c.Ask, now), !twins && !c.Doubted && n.SureAt(c.From, source, told), ambiguous, now)
}

// see takes in a verdict: whether the agent must know by now that it is right,
// and whether it must not, since two have the address.
func (c *Call) see(v Verdict, sure, ambiguous bool, now time.Time) {
	c.wait = c.wait || !sure || v.Answer == Hold || v.Answer == NotYet
	c.deny = c.deny || v.Answer == Deny
	if v.Answer == Give && !ambiguous {
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

// Closed says what is wrong with the agent having closed the connection; nil for
// nothing. Nothing that happens to a pod closes its connections: requests on one
// whose address is another's now are answered, too.
func (c *Call) Closed() *LawError {
	if c.Idle >= IdleFor { // it was closed while the request was on its way
		return nil
	}
	return &LawError{Kept, fmt.Sprintf("pod %v (%s) asked for %v at %s and was hung up on", c.From.Pod, c.From.UID, c.Ask, c.Sent.Format(time.TimeOnly))}
}

// ClosedIdle says what is wrong with the agent having closed a connection of the
// sandbox on which nothing was asked for so long; nil for nothing.
func ClosedIdle(from *Sandbox, idle time.Duration) *LawError {
	if idle >= IdleFor {
		return nil
	}
	return &LawError{Kept, fmt.Sprintf("pod %v (%s) was hung up on %s after its last answer", from.Pod, from.UID, idle)}
}

// ClosedSilent says what is wrong with the agent having closed a new connection of
// the sandbox on which nothing had been asked for so long; nil for nothing.
func ClosedSilent(from *Sandbox, silent time.Duration) *LawError {
	if silent < SilentFor {
		return &LawError{Kept, fmt.Sprintf("pod %v (%s) was hung up on %s after it had come", from.Pod, from.UID, silent)}
	}
	return StillSilent(from, silent)
}

// StillSilent says what is wrong with there being a new connection of the sandbox
// on which nothing has been asked for so long; nil for nothing.
func StillSilent(from *Sandbox, silent time.Duration) *LawError {
	if silent <= ShedBy {
		return nil
	}
	return &LawError{Shed, fmt.Sprintf("pod %v (%s) came %s ago, has asked nothing, and was not hung up on before", from.Pod, from.UID, silent)}
}

// Overdue says what is wrong with there being no reply yet; nil for nothing.
func (c *Call) Overdue(now time.Time) *LawError {
	if waited := now.Sub(c.Sent); waited > HeldFor+Patience {
		return &LawError{Answered, fmt.Sprintf("pod %v (%s) asked for %v and has had no answer for %s", c.From.Pod, c.From.UID, c.Ask, waited)}
	}
	if c.SureSince.IsZero() || now.Sub(c.SureSince) <= Patience {
		return nil
	}
	law := Served
	if c.SureSince.After(c.Sent) {
		law = Woken
	}
	return &LawError{law, fmt.Sprintf("pod %v (%s) asked for %v at %s and has waited since %s", c.From.Pod, c.From.UID, c.Ask, c.Sent.Format(time.TimeOnly), c.SureSince.Format(time.TimeOnly))}
}
