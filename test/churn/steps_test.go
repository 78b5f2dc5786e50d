package churn_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/podid-io/podid/test/churn/model"
)

var (
	namespaceNames = []string{"red", "blue", model.ExceptionNamespace}
	podNames       = []string{"a", "b", "c", "d", "e"}
	objectNames    = []string{"k", "l", "m"}
	labels         = []string{"web", "web", "web", "db", "db", ""}
	apps           = []string{"", "x", "X", "y"}
	resources      = []string{"https://vault.azure.net", "https://storage.azure.com/", "api://own"}
	addresses      = addressesOf("10.224.1.10")
	seconds        = addressesOf("fd00:10:224:1::10")
)

const settleEvery = 2000

// addressesOf are those that pods can have, of one family.
func addressesOf(first string) (list []netip.Addr) {
	for a := netip.MustParseAddr(first); len(list) < 9; a = a.Next() {
		list = append(list, a)
	}
	return list
}

func pick[T any](w *world, list []T) T { return list[w.r.IntN(len(list))] }

// step is one thing that happens. It reports false where there was nothing to do:
// then it does not count.
func (w *world) step() (did bool) {
	switch n := w.r.IntN(1000); {
	case n < 640:
		did = w.request()
	case n < 690:
		w.advance(time.Duration(1+w.r.IntN(2000)) * time.Millisecond)
		did = true
	case n < 800:
		did = w.deliver()
	case n < 850:
		did = w.tellLink()
	case n < 997-w.plant.upsets:
		did = w.act(w.r.IntN(40))
	default:
		did = w.upset(w.r.IntN(16))
	}
	if w.r.IntN(3) > 0 { // most of the time, word of links is prompt
		w.tellLinks()
	}
	return did
}

func (w *world) say(format string, args ...any) {
	w.story.add(fmt.Sprintf("%6d %s ", w.count.steps, time.Now().Format("15:04:05.000")) + fmt.Sprintf(format, args...))
}

// deliver has the API server tell something of what it has not told yet.
func (w *world) deliver() bool {
	for i := range 1 + w.r.IntN(4) {
		waiting := w.api.waiting()
		if len(waiting) == 0 {
			return i > 0
		}
		k := pick(w, waiting)
		w.see()
		twice := w.r.IntN(10) == 0
		w.say("told of one of the %s, twice: %t", k.resource().plural, twice)
		if w.r.IntN(4) == 0 {
			w.meanwhile()
		}
		w.api.deliver(k, twice)
		w.see()
		w.rest()
	}
	return true
}

// upset is what happens rarely.
func (w *world) upset(n int) bool {
	switch {
	case n < 2:
		w.say("the node reboots")
		w.reboot()
	case n < 4:
		w.say("the agent is ended, and started again")
		w.restart(false, true)
	case n < 5:
		w.say("the agent dies, and is started again")
		w.restart(true, true)
	case n < 6:
		w.say("the agent is started again without its memory")
		w.restart(false, false)
	case n < 8:
		return w.twins()
	default:
		return w.cut()
	}
	return true
}

// cut ends a watch, one at a time.
func (w *world) cut() bool {
	watched := w.api.watched()
	if len(watched) == 0 {
		return false
	}
	k := pick(w, watched)
	gone, inBand := w.r.IntN(2) == 0, w.r.IntN(2) == 0
	w.say("the watch of %s ends, 410: %t, as an event: %t", k.resource().plural, gone, inBand)
	w.api.cut(k, gone, inBand)
	w.rest()
	return true
}

// act is a change of the world, by one of those who make it.
func (w *world) act(n int) bool {
	switch {
	case n < 4:
		return w.makePod()
	case n < 10:
		return w.changePod()
	case n < 16:
		uid, ok := w.anyPod()
		if !ok || !w.report(uid) {
			return false
		}
		w.say("the kubelet reports %s", uid)
		return true
	case n < 18:
		return w.replaceSandbox()
	case n < 20:
		ended := w.endPod()
		return w.collect() || ended
	case n < 27:
		return w.changeObject()
	case n < 38:
		return w.attach()
	default:
		k := kind(w.r.IntN(int(kinds)))
		if !w.api.bookmark(k) {
			return false
		}
		w.say("a bookmark of %s", k.resource().plural)
		w.rest()
		return true
	}
}

// anyPod is the uid of a pod that the kubelet knows, now and then rather of one
// that has left the address it is told of with.
func (w *world) anyPod() (string, bool) {
	var uids, stale []string
	for _, key := range sortedKeys(w.api.holds.Pods) {
		p := w.api.holds.Pods[key]
		if w.running[p.UID] == nil {
			continue
		}
		uids = append(uids, p.UID)
		if w.stale(&p) {
			stale = append(stale, p.UID)
		}
	}
	switch {
	case len(uids) == 0:
		return "", false
	case len(stale) > 0 && w.r.IntN(4) == 0:
		return pick(w, stale), true
	}
	return pick(w, uids), true
}

// newPod makes a pod; false where there is one of the name.
func (w *world) newPod() (model.Pod, bool) {
	key := model.Key{Namespace: pick(w, namespaceNames), Name: pick(w, podNames)}
	if _, there := w.api.holds.Pods[key]; there {
		return model.Pod{}, false
	}
	w.uids++
	p := model.Pod{Key: key, UID: fmt.Sprintf("uid-%d", w.uids), Created: time.Now().Truncate(time.Second), App: pick(w, apps), Pending: true}
	w.label(&p)
	w.say("pod %v is made, %s, %q", key, p.UID, p.Selector)
	return p, true
}

func (w *world) makePod() bool {
	p, ok := w.newPod()
	if !ok {
		return false
	}
	if w.r.IntN(12) == 0 { // it tells of addresses that are not its own
		p.HostNetwork, p.Pending = true, false
		p.Addr, p.Second = pick(w, addresses), pick(w, seconds)
		p.Ready, p.Started = time.Now().Unix(), time.Now().Unix()
		return w.api.put(pods, p.Key, p)
	}
	w.api.put(pods, p.Key, p)
	w.running[p.UID] = &container{key: p.Key}
	if at, ok := w.freePair(); ok && w.r.IntN(8) > 0 {
		w.plugSome(p.UID, at)
	}
	return true
}

// plugSome gives a pod a network, and mostly has its container started and
// reported.
func (w *world) plugSome(uid string, at pair) {
	index := 0
	if old := w.reusable(); old != nil {
		index = old.Link
		at = w.again(old, at)
	}
	w.plug(uid, at, index)
	w.say("%s is at %s and %s by link %d", uid, at.first, at.second, w.present[uid].Link)
	if w.present[uid].Link < w.nextUp-1 || w.r.IntN(3) > 0 {
		w.tellLinks()
	}
	if w.r.IntN(4) > 0 {
		w.running[uid].started = time.Now().Unix()
		w.prove(uid)
	}
	if w.r.IntN(3) > 0 {
		w.report(uid)
	}
}

// again are the addresses that a sandbox had, as far as they are free, and
// others where they are not.
func (w *world) again(old *model.Sandbox, at pair) pair {
	if w.node.At(old.Addr) == nil {
		at.first = old.Addr
	}
	if w.node.At(old.Second) == nil {
		at.second = old.Second // maybe none
	}
	return at
}

// reusable is a link that is gone, if its index is to be used again; nil for
// none. Where a connection of the old link has not had an answer yet, the agent
// cannot know whose it was: those are closed, as the end of the pod does.
func (w *world) reusable() *model.Sandbox {
	if w.r.IntN(2) > 0 || w.agent == nil {
		return nil
	}
	w.tellLinks()
	for _, c := range w.conns {
		if from := c.wire.from; from.Gone && c.pinned && !c.aside && w.linkIsFree(from.Link) {
			w.hangUp(func(c *conn) bool { return c.wire.link == from.Link && !c.pinned })
			w.rest()
			return from
		}
	}
	return nil
}

func (w *world) linkIsFree(index int) bool {
	for _, s := range w.node.Sandboxes {
		if s.Link == index {
			return false
		}
	}
	return true
}

func (w *world) label(p *model.Pod) {
	p.HasSelector = w.r.IntN(4) > 0
	p.Selector = ""
	if p.HasSelector {
		p.Selector = pick(w, labels)
	}
}

func (w *world) changePod() bool {
	uid, ok := w.anyPod()
	if !ok {
		return false
	}
	c := w.running[uid]
	p := w.api.holds.Pods[c.key]
	switch w.r.IntN(4) {
	case 0:
		w.label(&p)
		w.say("pod %v is labelled %q", p.Key, p.Selector)
		return w.api.put(pods, p.Key, p)
	case 1:
		p.App = pick(w, apps)
		w.say("pod %v has app %q", p.Key, p.App)
		return w.api.put(pods, p.Key, p)
	case 2:
		if w.present[uid] == nil || c.started == time.Now().Unix() {
			return false
		}
		c.started = time.Now().Unix()
		w.prove(uid)
		w.say("a container of pod %v (%s) starts", p.Key, uid)
	default:
		if c.started == 0 {
			return false
		}
		w.say("the container of pod %v (%s) ends", p.Key, uid)
		c.started = 0
	}
	return true
}

// replaceSandbox takes the network of a pod away, and mostly makes another.
func (w *world) replaceSandbox() bool {
	uid, ok := w.anyPod()
	if !ok || !w.mayUnplug(uid) {
		return false
	}
	before := w.present[uid]
	w.unplug(uid)
	w.say("%s has no network", uid)
	at, free := w.freePair()
	switch {
	case !free || w.r.IntN(4) == 0:
		return before != nil
	case before != nil && w.r.IntN(2) == 0:
		at = w.again(before, at)
	}
	w.plugSome(uid, at)
	return true
}

// endPod is one of the ways that a pod goes.
func (w *world) endPod() bool {
	uid, ok := w.anyPod()
	if !ok || !w.mayUnplug(uid) {
		return false
	}
	key := w.running[uid].key
	p := w.api.holds.Pods[key]
	how := w.r.IntN(4)
	w.say("pod %v (%s) goes, in way %d", key, uid, how)
	switch how {
	case 0: // it is on its way out, as yet
		p.Ending = true
		return w.api.put(pods, key, p)
	case 1: // it has ended, and is still told of
		if w.r.IntN(4) == 0 {
			w.unplug(uid)
		}
		p.Ended, p.Ready, p.Started = true, 0, 0
		w.api.put(pods, key, p)
		if w.present[uid] != nil {
			return true
		}
	case 2: // forced: its network is there a while longer
		return w.api.put(pods, key, nil)
	default:
		w.unplug(uid)
		w.api.put(pods, key, nil)
	}
	delete(w.running, uid)
	return true
}
