package churn_test

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/podid-io/podid/internal/nodeview"
	"github.com/podid-io/podid/test/churn/model"
)

// pair is the addresses of a pod: one, or one of each family.
type pair struct{ first, second netip.Addr }

// plug gives a pod a network: a new link, with addresses that nobody has. It
// may take the index of a link that is gone, which kernels do rarely; then the
// agent hears of both at once.
func (w *world) plug(uid string, at pair, reuse int) {
	c := w.running[uid]
	w.after(max(c.evidence, w.last[at.first], w.last[at.second]))
	index := reuse
	if index == 0 {
		index = w.nextUp
		w.nextUp++
	}
	s := &model.Sandbox{Pod: c.key, UID: uid, Addr: at.first, Second: at.second, Link: index, Born: time.Now(), Hardware: fmt.Sprintf("02:00:00:00:%02x:%02x", index>>8&255, index&255)}
	if reuse != 0 {
		s.Hardware = fmt.Sprintf("02:01:%02x:00:%02x:%02x", w.nextUp&255, index>>8&255, index&255)
		w.nextUp++
	}
	w.see()
	w.node.Sandboxes = append(w.node.Sandboxes, s)
	w.wired()
	w.present[uid] = s
	c.ready, c.started = time.Now().Unix(), 0
	w.prove(uid)
	w.told = append(w.told, linkEvent{s, true})
	w.see()
}

// prove notes what evidence the pod shows now.
func (w *world) prove(uid string) {
	c := w.running[uid]
	c.evidence = max(c.evidence, c.ready, c.started)
	if s := w.present[uid]; s != nil {
		for _, a := range []netip.Addr{s.Addr, s.Second} {
			if a.IsValid() {
				w.last[a] = max(w.last[a], c.evidence)
			}
		}
	}
}

// unplug takes a pod's network away.
func (w *world) unplug(uid string) {
	s := w.present[uid]
	if s == nil {
		return
	}
	w.see()
	s.Gone = true
	w.wired()
	delete(w.present, uid)
	c := w.running[uid]
	c.ready, c.started = 0, 0
	w.told = append(w.told, linkEvent{s, false})
	w.see()
	w.node.Forget()
}

// mayUnplug reports whether a pod may lose its network now: while the agent is
// away, only one of which there is no evidence from the second in which the agent
// last wrote down who is there, or later. The agent documents that it believes
// such evidence. When that was, the test knows by its own clock.
func (w *world) mayUnplug(uid string) bool {
	return w.away.IsZero() || w.running[uid].evidence < w.away.Unix()
}

// tellLink has the kernel tell of the next link.
func (w *world) tellLink() bool {
	if len(w.told) == 0 || w.agent == nil {
		return false
	}
	e := w.told[0]
	w.told = w.told[1:]
	w.see()
	switch {
	case e.up:
		e.sandbox.Up, e.sandbox.Since = true, time.Now()
		w.linkUp(w.agent.view, e.sandbox, time.Now())
	default:
		e.sandbox.Down = true
		w.linkDown(e.sandbox)
		w.node.Forget()
	}
	w.say("the kernel tells of link %d of %s, up: %t", e.sandbox.Link, e.sandbox.UID, e.up)
	w.see()
	w.rest()
	return true
}

// tellLinks has the kernel tell of all links.
func (w *world) tellLinks() {
	for w.tellLink() {
		continue
	}
}

func (w *world) linkUp(v *nodeview.View, s *model.Sandbox, at time.Time) {
	if !w.plant.oneLink {
		v.LinkUp(s.Link, s.Hardware, at)
	}
}

func (w *world) linkDown(s *model.Sandbox) {
	if !w.plant.noLinkDown && !w.plant.oneLink {
		w.agent.view.LinkDown(s.Link)
	}
}

// passingLink is a link that comes and goes, and is no pod's.
func (w *world) passingLink() {
	s := &model.Sandbox{Link: w.nextUp, Hardware: "02:02:00:00:00:01"}
	w.nextUp++
	w.linkUp(w.agent.view, s, time.Now())
	w.linkDown(s)
}

// report has the kubelet write the status of a pod, as it is now, and tells
// whether that is another than before.
func (w *world) report(uid string) bool {
	c := w.running[uid]
	p, ok := w.api.holds.Pods[c.key]
	if !ok || p.UID != uid {
		return false
	}
	p.Ready, p.Started, p.Pending = c.ready, c.started, c.started == 0
	if s := w.present[uid]; s != nil {
		p.Addr, p.Second = s.Addr, s.Second
	}
	return w.api.put(pods, c.key, p)
}

// flushStale has the statuses of pods without a network say so.
func (w *world) flushStale() {
	for _, key := range sortedKeys(w.api.holds.Pods) {
		p := w.api.holds.Pods[key]
		if w.present[p.UID] == nil && p.Addr.IsValid() && !p.HostNetwork {
			p.Addr, p.Second, p.Ready, p.Started = netip.Addr{}, netip.Addr{}, 0, 0
			w.api.put(pods, key, p)
		}
	}
}

// free lists those of the addresses that nobody has.
func (w *world) free(of []netip.Addr) []netip.Addr {
	var list []netip.Addr
	for _, a := range of {
		if w.node.At(a) == nil {
			list = append(list, a)
		}
	}
	return list
}

// freePair is addresses for a pod, mostly of both families; false where there is
// none.
func (w *world) freePair() (at pair, ok bool) {
	first, second := w.free(addresses), w.free(seconds)
	if len(first) == 0 {
		return at, false
	}
	at.first = w.oneOf(first)
	if len(second) > 0 && w.r.IntN(4) > 0 {
		at.second = w.oneOf(second)
	}
	return at, true
}

// oneOf is one of the addresses that are free: rather one that a pod is still
// told of with.
func (w *world) oneOf(free []netip.Addr) netip.Addr {
	var left []netip.Addr
	for _, key := range sortedKeys(w.api.holds.Pods) {
		p := w.api.holds.Pods[key]
		for _, a := range []netip.Addr{p.Addr, p.Second} {
			if !p.HostNetwork && slices.Contains(free, a) {
				left = append(left, a)
			}
		}
	}
	if len(left) > 0 && w.r.IntN(3) > 0 {
		return pick(w, left)
	}
	return pick(w, free)
}

// stale reports whether the pod is told of with an address that it has no more.
func (w *world) stale(p *model.Pod) bool {
	s := w.present[p.UID]
	return p.Addr.IsValid() && (s == nil || !s.Has(p.Addr))
}

// newest is the newest evidence that anybody has shown, in Unix seconds.
func (w *world) newest() int64 {
	newest := int64(0)
	for _, c := range w.running {
		newest = max(newest, c.evidence)
	}
	for _, second := range w.last { // also of pods that are gone
		newest = max(newest, second)
	}
	return newest
}
