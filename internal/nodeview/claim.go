package nodeview

import (
	"maps"
	"net/netip"
	"time"
)

// link is a network interface of the node.
type link struct {
	hardware string
	// born is since when it has been there, or as near to that as is known:
	// evidence from before it speaks of a link that is gone.
	born time.Time
	// kept says that it was there before this agent, and known to the one before.
	kept bool
}

// since is when the link was born, by the node's clock as it is set now: a link
// does not get younger or older when that is set.
func (l *link) since() time.Time {
	now := time.Now()
	return now.Add(-now.Sub(l.born))
}

// shared says that several pods may be at the other end.
func (l *link) shared() bool { return l.hardware == "" }

// claim ties an address of a pod to a link.
type claim struct {
	link int
	// evidence is the newest that was seen while the address was on the link.
	evidence time.Time
}

// LinkUp tells of a link: its index, its hardware address, and since when it can
// have been there. The zero time means since before the agent; those links are
// told of before Run. A link without a hardware address, such as a bridge, is
// taken for one that several pods share. LinkUp of a link that is known changes
// nothing but that address.
//
// # Whose address it is
//
// An address belongs to a pod only together with a link. The pod claims it when
// its status shows evidence that is not older than the link: the start of a
// container that runs, or the moment the pod's network was ready, both from the
// node's own clock. A status that tells of the address alone is no evidence: the
// API server repeats it for as long as nobody writes another, also after the
// pod's network is gone and the address another's.
//
//	status with evidence ──► claim ── link goes ──► none ── newer evidence ──► claim
//
// A link that goes takes the claims on it with it at once, and the pods that had
// them need evidence that is newer than what they had then. A link that was there
// before the agent is as old as the node's boot, or as what the agent before
// wrote down; see Config.RunDir. So after a boot, with addresses dealt out anew,
// no pod is believed for what its status said before. A link that two pods claim
// is nobody's, unless it is one that pods share.
//
// # What remains possible
//
// Times in the API have whole seconds, and since when a link can have been there
// is known to a quarter of a second, or as well as this process gets a processor.
// Where a pod starts a container, loses its network and has its address given to
// another pod, all within that time, a status that comes late could give it the
// other's link.
//
// Where a pod's network is made anew within the second in which a container of it
// had started, the pod is not known before another container starts. Neither is a
// pod that was on its way out already when the agent started without what the one
// before wrote down.
//
// An agent that finds a link of which nothing is written down believes what the
// API server tells of it, if it is from after the boot, or after the last that was
// written. The first list of pods is a consistent one for that reason.
//
// Where the node's clock is set back, pods that started before are believed for
// links that came after for that much longer; where it is set forward after pods
// started, and the agent starts without what the one before wrote down, they
// are not known before another container starts.
//
// Behind a link that pods share, all this tells nothing of which of them has an
// address: a pod that has ended keeps it there until the API server says so.
func (v *View) LinkUp(index int, hardware string, at time.Time) {
	v.mu.Lock()
	if l, ok := v.links[index]; ok { // the same link, until it is told that it is gone
		changed := l.hardware != hardware
		l.hardware = hardware
		v.links[index] = l
		v.mu.Unlock()
		if changed {
			v.remember()
		}
		return
	}
	v.links[index] = v.newLink(index, hardware, at)
	v.serial++
	v.mu.Unlock()
	v.reclaim()
	v.remember()
}

// LinkDown tells that a link is gone.
func (v *View) LinkDown(index int) {
	v.mu.Lock()
	v.lose(index)
	v.serial++
	v.mu.Unlock()
	v.reclaim()
	v.remember()
}

// newLink finds out how old a link is. v.mu is held.
func (v *View) newLink(index int, hardware string, at time.Time) link {
	l := link{hardware: hardware, born: at}
	switch {
	case !at.IsZero():
	case v.synced: // too late to have been there before us
		l.born = time.Now()
	case v.memory != nil:
		l.born, l.kept = v.memory.link(index, hardware)
	default:
		l.born = v.boot
	}
	return l
}

// lose takes a link, and the claims on it, away. v.mu is held.
func (v *View) lose(index int) {
	delete(v.links, index)
	lost := false
	for _, e := range v.pods {
		for a, c := range e.claims {
			if c.link == index {
				v.release(e, a)
				e.floor = later(e.floor, c.evidence)
				lost = true
			}
		}
	}
	if lost {
		v.wake()
	}
}

// setPod records a pod as the API server tells of it; one that has ended is
// forgotten. What it had claimed it keeps.
func (v *View) setPod(s seen) {
	for done := false; !done; {
		links, serial := v.routes(s.addrs)
		v.change(func() {
			if done = v.serial == serial; done {
				v.putPod(s, links)
			}
		})
	}
	v.remember()
}

// putPod records a pod whose addresses are on links. v.mu is held.
func (v *View) putPod(s seen, links map[netip.Addr]int) {
	old, ok := v.pods[s.pod.UID]
	var claims map[netip.Addr]claim
	if ok {
		claims = maps.Clone(old.claims)
	}
	v.dropPod(s.pod.UID)
	if s.ended {
		return
	}
	e := &podEntry{seen: s, claims: make(map[netip.Addr]claim, len(s.addrs))}
	if ok {
		e.floor = old.floor
		v.keep(e, claims, links)
	} else {
		v.recall(e, links)
	}
	v.pods[s.pod.UID] = e
	v.byName[name{s.pod.Namespace, s.pod.Name}] = e
	for _, a := range s.addrs {
		v.byIP[a] = append(v.byIP[a], e)
		v.claim(e, a, links[a])
	}
}

// keep has the pod keep the claims on addresses that it still has. New evidence
// is for the link that the address is on now: where that is another, whose
// coming may not have been told yet, it is saved for that.
func (v *View) keep(e *podEntry, claims map[netip.Addr]claim, links map[netip.Addr]int) {
	for _, a := range e.addrs {
		c, ok := claims[a]
		if !ok {
			continue
		}
		if links[a] == c.link {
			c.evidence = later(c.evidence, e.evidence)
		}
		v.take(e, a, c)
	}
}

// take gives a pod a claim. v.mu is held.
func (v *View) take(e *podEntry, a netip.Addr, c claim) {
	e.claims[a] = c
	if v.claimants[c.link] == nil {
		v.claimants[c.link] = make(map[string]int)
	}
	v.claimants[c.link][e.pod.UID]++
}

// release takes a claim from a pod, if it has it. v.mu is held.
func (v *View) release(e *podEntry, a netip.Addr) {
	c, ok := e.claims[a]
	if !ok {
		return
	}
	delete(e.claims, a)
	on := v.claimants[c.link]
	if on[e.pod.UID]--; on[e.pod.UID] == 0 {
		delete(on, e.pod.UID)
	}
	if len(on) == 0 {
		delete(v.claimants, c.link)
	}
}

// claim has the pod claim an address that is on a link, if it may. v.mu is held.
func (v *View) claim(e *podEntry, a netip.Addr, index int) bool {
	l, ok := v.links[index]
	if _, has := e.claims[a]; has || !ok || !e.mayClaim() || e.evidence.Before(l.since().Truncate(time.Second)) {
		return false
	}
	v.take(e, a, claim{link: index, evidence: e.evidence})
	return true
}

// mayClaim reports whether the pod shows evidence for any new claim. A pod on
// its way out makes none: its address may be another's already.
func (e *podEntry) mayClaim() bool {
	return !e.ending && !e.evidence.IsZero() && (e.floor.IsZero() || e.evidence.After(e.floor))
}

// RoutesChanged tells that addresses may be on other links now.
func (v *View) RoutesChanged() {
	v.mu.Lock()
	v.serial++
	v.mu.Unlock()
	v.reclaim()
	v.remember()
}

// reclaim has pods claim the addresses that they could not claim before.
func (v *View) reclaim() {
	for {
		waiting := v.waiting()
		if len(waiting) == 0 {
			return
		}
		links, serial := v.routes(waiting)
		if v.tryReclaim(links, serial) {
			return
		}
	}
}

func (v *View) tryReclaim(links map[netip.Addr]int, serial uint64) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.serial != serial {
		return false
	}
	claimed := false
	for a, index := range links {
		for _, e := range v.byIP[a] {
			claimed = v.claim(e, a, index) || claimed
		}
	}
	if claimed {
		v.wake()
	}
	return true
}

// waiting lists the addresses of pods that could claim them now.
func (v *View) waiting() []netip.Addr {
	v.mu.RLock()
	defer v.mu.RUnlock()
	var oldest time.Time
	for index := range v.links {
		l := v.links[index]
		if since := l.since(); oldest.IsZero() || since.Before(oldest) {
			oldest = since
		}
	}
	var list []netip.Addr
	for _, e := range v.pods {
		if !e.mayClaim() || e.evidence.Before(oldest.Truncate(time.Second)) {
			continue
		}
		for _, a := range e.addrs {
			if _, has := e.claims[a]; !has {
				list = append(list, a)
			}
		}
	}
	return list
}

// routes asks the kernel which links addresses are on, and says of which state
// of the links the answer is.
func (v *View) routes(addrs []netip.Addr) (links map[netip.Addr]int, serial uint64) {
	v.mu.RLock()
	serial = v.serial
	v.mu.RUnlock()
	links = make(map[netip.Addr]int, len(addrs))
	for _, a := range addrs {
		links[a] = v.linkOf(a)
	}
	return links, serial
}

func (v *View) deletePod(uid string) {
	v.change(func() { v.dropPod(uid) })
	v.remember()
}

// dropPod forgets a pod. v.mu is held.
func (v *View) dropPod(uid string) {
	e, ok := v.pods[uid]
	if !ok {
		return
	}
	delete(v.pods, uid)
	for _, a := range e.addrs {
		v.release(e, a)
	}
	if n := (name{e.pod.Namespace, e.pod.Name}); v.byName[n] == e {
		delete(v.byName, n)
	}
	for _, a := range e.addrs {
		v.byIP[a] = without(v.byIP[a], e)
		if len(v.byIP[a]) == 0 {
			delete(v.byIP, a)
		}
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
