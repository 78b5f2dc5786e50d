package netns_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/podid-io/podid/test/churn/model"
)

const (
	// patience is how long a request may take that must be answered, soon how long
	// all of them but one in fewLate may, and brief how long one is waited for that
	// may not be answered.
	patience = 30 * time.Second
	soon     = 5 * time.Second
	brief    = 300 * time.Millisecond
	// fewLate is a share, since a busy machine stands still now and then, the more
	// often the longer a story is. Requests come one after the other, so that it
	// holds up one of them each time. What the agent does late as a rule is more:
	// there is a pod that is moved or replaced in one of 20 steps.
	fewLate = 100
)

// anyAsk asks for the default of a pod, for one of its identities, or for any.
func (w *world) anyAsk(p *pod) model.Ask {
	a := model.Ask{Resource: vault}
	switch w.r.IntN(6) {
	case 0:
		a.ClientID = clientOf(names[w.r.IntN(len(names))])
	case 1, 2:
		present := p.labels[len(p.labels)-1].value
		grants := w.objects.Grants(&model.Pod{Key: p.sandbox.Pod, HasSelector: true, Selector: present})
		a.ClientID = grants[w.r.IntN(len(grants))].ClientID
	}
	if w.r.IntN(2) == 0 {
		a.ClientID = strings.ToUpper(a.ClientID)
	}
	return a
}

// ask asks for something on a new connection, and is answered.
func (w *world) ask(p *pod) { w.askFor(p, w.anyAsk(p)) }

// askFor asks on a new connection, and returns the status; 0 for no answer.
func (w *world) askFor(p *pod, a model.Ask) int {
	w.t.Helper()
	call := &model.Call{Ask: a, From: p.sandbox, Sent: time.Now()}
	w.see(call, p)
	c, err := w.dial(p, nowhere, patience)
	if err != nil {
		w.unanswered(call, err)
		return 0
	}
	defer func() { _ = c.Close() }() // its answer has come, or none will
	status, err := w.send(c, p, call, patience)
	if err != nil && !c.shed(err) {
		w.unanswered(call, err)
	}
	w.due(call.Sent)
	return status
}

// due counts a request that had to be answered, and whether that took long.
func (w *world) due(since time.Time) {
	w.count.due++
	if time.Since(since) > soon {
		w.count.late++
	}
}

// askKept asks on the connection that a pod keeps, and has it keep one. One that
// has lost an end may fail, and is forgotten then.
func (w *world) askKept(p *pod) {
	w.t.Helper()
	begin := time.Now()
	if p.kept == nil {
		c, err := w.dial(p, nowhere, patience)
		if err != nil {
			w.unanswered(&model.Call{From: p.sandbox}, err)
			return
		}
		p.kept = c
	}
	c, limit := p.kept, patience
	alive := w.alive(c)
	if !alive {
		limit = brief
	}
	before := c.pinned
	call := &model.Call{Ask: w.anyAsk(p), From: c.from, Pinned: c.pinned, Sent: time.Now()}
	w.see(call, p)
	status, err := w.send(c, p, call, limit)
	switch {
	case err == nil && before:
		w.count.kept++
	case err != nil && !alive:
		w.count.closed++
	case err != nil && !c.shed(err):
		w.unanswered(call, err)
	}
	if alive {
		w.due(begin)
	}
	if err != nil {
		_ = c.Close() // it has failed already
		p.kept = nil
		return
	}
	c.pinned = c.pinned || status == http.StatusOK
}

// see takes in what a request may be answered with: by each of the labels that
// the pod has had within the last seconds, and by who the agent can know.
func (w *world) see(call *model.Call, p *pod) {
	now := time.Now()
	for _, l := range p.labels {
		if !l.until.IsZero() && l.until.Add(late).Before(call.Sent) {
			continue
		}
		call.See(&model.Node{Complete: true}, w.told(p, call.From, l.value), now)
	}
}

// told are the objects, with a pod of that label on that network.
func (w *world) told(p *pod, s *model.Sandbox, label string) *model.Objects {
	told := *w.objects
	told.Pods = map[model.Key]model.Pod{s.Pod: {
		Key: s.Pod, UID: s.UID, Created: p.created, HasSelector: true, Selector: label, Addr: s.Addr, Ready: s.Born.Unix(),
	}}
	return &told
}

// send sends a request, and holds the answer against what is right by then. The
// error tells that there is none.
func (w *world) send(c *conn, p *pod, call *model.Call, limit time.Duration) (int, error) {
	w.t.Helper()
	if _, err := w.audit.next(); err != nil {
		w.must(err)
	}
	reply, digest, err := c.exchange(call.Ask, limit)
	if err != nil {
		return 0, err
	}
	w.see(call, p)
	if reply.Status == http.StatusOK {
		w.count.tokens++
		if call.Ask.ClientID != "" {
			w.count.chosen++
		}
		reply.Owner, err = w.audit.ownerOf(digest)
		w.must(err)
		if reply.Owner == call.From.UID && c.agent == w.agent {
			call.From.Up = true // it is known from now on
		}
	} else {
		w.count.refused++
	}
	w.say("%s asks for %q (forged: %t, pinned: %t) and is answered %d %s %s", call.From.Pod.Name, call.Ask.ClientID, call.Forged, call.Pinned, reply.Status, reply.Token.ClientID, reply.Says)
	w.wrongIf(call.Judge(reply))
	return reply.Status, nil
}

// unanswered says that there was no answer where one was due.
func (w *world) unanswered(call *model.Call, err error) {
	w.wrongIf(&model.LawError{Law: model.Answered, What: fmt.Sprintf("pod %s at %s was not answered: %v", call.From.Pod.Name, call.From.Addr, err)})
}

// askNobody has pods ask while the agent is away. Nobody answers: neither it, nor
// the metadata service of the node.
func (w *world) askNobody() {
	w.t.Helper()
	for range 2 {
		p := w.anyPod()
		w.count.away++
		a := model.Ask{ClientID: clientOf(names[w.r.IntN(len(names))]), Resource: vault}
		c, err := w.dial(p, nowhere, brief)
		if err != nil {
			w.count.silent++
			continue
		}
		reply, _, err := c.exchange(a, brief)
		_ = c.Close() // only read from
		if err != nil {
			w.count.silent++
			continue
		}
		w.wrongIf(&model.LawError{Law: model.Absent, What: fmt.Sprintf("pod %s asked for %v and is answered %d, with %v", p.Name, a, reply.Status, reply.Token)})
	}
}

// forge has a pod take a neighbour's address beside its own, and ask by it.
func (w *world) forge() {
	w.t.Helper()
	thief, victim := w.anyPod(), w.anyPod()
	if thief == victim {
		return
	}
	address := &netlink.Addr{IPNet: netlink.NewIPNet(victim.Addr.AsSlice())}
	change := func(how func(netlink.Link, *netlink.Addr) error) error {
		return thief.Do(func() error {
			eth0, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return how(eth0, address)
		})
	}
	w.must(change(netlink.AddrAdd))
	undo := func() error { return nil }
	if w.plant.forging != nil {
		var err error
		undo, err = w.plant.forging(w, thief, victim)
		w.must(err)
		if victim.kept != nil {
			victim.kept.astray = true
		}
	}
	w.say("%s asks in the name of %s", thief.Name, victim.Name)
	w.count.forged++
	call := &model.Call{Ask: model.Ask{Resource: vault}, From: thief.sandbox, Forged: true, Sent: time.Now()}
	c, err := w.dial(thief, victim.Addr, brief)
	if err == nil {
		_, err = w.send(c, thief, call, 2*brief)
		_ = c.Close() // its answer has come, or none will
	}
	if err != nil {
		w.count.silent++
	}
	w.must(errors.Join(change(netlink.AddrDel), undo())) // in this order: the thief is not to answer for the address once more
}
