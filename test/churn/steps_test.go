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
	addresses      = func() (list []netip.Addr) {
		for i := range 9 {
			list = append(list, netip.AddrFrom4([4]byte{10, 224, 1, byte(10 + i)}))
		}
		return list
	}()
)

const settleEvery = 2000

func pick[T any](w *world, list []T) T { return list[w.r.IntN(len(list))] }

// step is one thing that happens.
func (w *world) step() {
	w.count.steps++
	if w.count.steps%settleEvery == 0 {
		w.settle()
	}
	switch n := w.r.IntN(1000); {
	case n < 640:
		w.request()
	case n < 690:
		w.advance(time.Duration(w.r.IntN(600)) * time.Millisecond)
	case n < 800:
		w.deliver()
	case n < 850:
		w.say("the kernel tells of a link: %t", w.tellLink())
	case n < 997-w.plant.upsets:
		w.act(w.r.IntN(40))
	default:
		w.upset(w.r.IntN(14))
	}
	if w.r.IntN(3) > 0 { // most of the time, word of links is prompt
		for w.tellLink() {
		}
	}
}

func (w *world) say(format string, args ...any) {
	w.story.add(fmt.Sprintf("%6d %s ", w.count.steps, time.Now().Format("15:04:05.000")) + fmt.Sprintf(format, args...))
}

// deliver has the API server tell something of what it has not told yet.
func (w *world) deliver() {
	for range 1 + w.r.IntN(4) {
		waiting := w.api.waiting()
		if len(waiting) == 0 {
			return
		}
		k := pick(w, waiting)
		w.see()
		twice := w.r.IntN(10) == 0
		w.say("told of one of the %s, twice: %t", k.resource().plural, twice)
		if w.r.IntN(4) == 0 {
			w.sendSome() // meanwhile
		}
		w.api.deliver(k, twice)
		w.see()
		w.rest()
	}
}

// upset is what happens rarely.
func (w *world) upset(n int) {
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
	default:
		w.cut()
	}
}

// cut ends a watch, one at a time.
func (w *world) cut() {
	for k := range kinds {
		if !w.api.watched(k) {
			return
		}
	}
	k := kind(w.r.IntN(int(kinds)))
	gone, inBand := w.r.IntN(2) == 0, w.r.IntN(2) == 0
	w.say("the watch of %s ends, 410: %t, as an event: %t", k.resource().plural, gone, inBand)
	w.api.cut(k, gone, inBand)
	w.rest()
}

// act is a change of the world, by one of those who make it.
func (w *world) act(n int) {
	switch {
	case n < 4:
		w.makePod()
	case n < 10:
		w.changePod()
	case n < 16:
		w.say("the kubelet reports")
		if uid, ok := w.anyPod(); ok {
			w.report(uid)
		}
	case n < 18:
		w.replaceSandbox()
	case n < 20:
		w.endPod()
		w.collect()
	case n < 27:
		w.changeObject()
	case n < 38:
		w.attach()
	default:
		k := kind(w.r.IntN(int(kinds)))
		w.say("a bookmark of %s", k.resource().plural)
		w.api.bookmark(k)
		w.rest()
	}
}

// anyPod is the uid of a pod that the kubelet knows.
func (w *world) anyPod() (string, bool) {
	var uids []string
	for _, key := range sortedKeys(w.api.holds.Pods) {
		if uid := w.api.holds.Pods[key].UID; w.running[uid] != nil {
			uids = append(uids, uid)
		}
	}
	if len(uids) == 0 {
		return "", false
	}
	return pick(w, uids), true
}

func (w *world) makePod() {
	key := model.Key{Namespace: pick(w, namespaceNames), Name: pick(w, podNames)}
	if _, there := w.api.holds.Pods[key]; there {
		return
	}
	w.uids++
	uid := fmt.Sprintf("uid-%d", w.uids)
	p := model.Pod{Key: key, UID: uid, Created: time.Now().Truncate(time.Second), App: pick(w, apps), Pending: true}
	w.label(&p)
	w.say("pod %v is made, %s, %q", key, uid, p.Selector)
	if w.r.IntN(12) == 0 { // it tells of an address that is not its own
		p.HostNetwork, p.Pending = true, false
		p.Addr, p.Ready, p.Started = pick(w, addresses), time.Now().Unix(), time.Now().Unix()
		w.api.put(pods, key, p)
		return
	}
	w.api.put(pods, key, p)
	w.running[uid] = &container{key: key}
	if free := w.free(); len(free) > 0 && w.r.IntN(8) > 0 {
		w.plugSome(uid, pick(w, free))
	}
}

// plugSome gives a pod a network, and mostly has its container started and
// reported.
func (w *world) plugSome(uid string, addr netip.Addr) {
	index := 0
	if old := w.reusable(); old != nil {
		index = old.Link
		if w.node.At(old.Addr) == nil {
			addr = old.Addr
		}
	}
	w.plug(uid, addr, index)
	w.say("%s is at %s by link %d", uid, addr, w.present[uid].Link)
	if w.present[uid].Link < w.nextUp-1 || w.r.IntN(3) > 0 {
		for w.tellLink() {
		}
	}
	if w.r.IntN(4) > 0 {
		w.running[uid].started = time.Now().Unix()
		w.prove(uid)
	}
	if w.r.IntN(3) > 0 {
		w.report(uid)
	}
}

// reusable is a link that is gone, if its index is to be used again; nil for
// none. Where a connection of the old link has not had an answer yet, the agent
// cannot know whose it was: those are closed, as the end of the pod does.
func (w *world) reusable() *model.Sandbox {
	if w.r.IntN(2) > 0 || w.agent == nil {
		return nil
	}
	for w.tellLink() {
	}
	for _, c := range w.conns {
		if from := c.wire.from; from.Gone && c.pinned && w.linkIsFree(from.Link) {
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

func (w *world) changePod() {
	uid, ok := w.anyPod()
	if !ok {
		return
	}
	c := w.running[uid]
	p := w.api.holds.Pods[c.key]
	switch w.r.IntN(4) {
	case 0:
		w.label(&p)
		w.say("pod %v is labelled %q", p.Key, p.Selector)
		w.api.put(pods, p.Key, p)
	case 1:
		p.App = pick(w, apps)
		w.say("pod %v has app %q", p.Key, p.App)
		w.api.put(pods, p.Key, p)
	case 2:
		if w.present[uid] != nil {
			c.started = time.Now().Unix()
			w.prove(uid)
			w.say("a container of pod %v (%s) starts", p.Key, uid)
		}
	default:
		w.say("the container of pod %v (%s) ends", p.Key, uid)
		c.started = 0
	}
}

// replaceSandbox takes the network of a pod away, and mostly makes another.
func (w *world) replaceSandbox() {
	uid, ok := w.anyPod()
	if !ok || !w.mayUnplug(uid) {
		return
	}
	before := w.present[uid]
	w.unplug(uid)
	w.say("%s has no network", uid)
	free := w.free()
	switch {
	case len(free) == 0 || w.r.IntN(4) == 0:
	case before != nil && w.r.IntN(2) == 0:
		w.plugSome(uid, before.Addr)
	default:
		w.plugSome(uid, pick(w, free))
	}
}

// endPod is one of the ways that a pod goes.
func (w *world) endPod() {
	uid, ok := w.anyPod()
	if !ok || !w.mayUnplug(uid) {
		return
	}
	key := w.running[uid].key
	p := w.api.holds.Pods[key]
	how := w.r.IntN(4)
	w.say("pod %v (%s) goes, in way %d", key, uid, how)
	switch how {
	case 0: // it is on its way out, as yet
		p.Ending = true
		w.api.put(pods, key, p)
		return
	case 1: // it has ended, and is still told of
		if w.r.IntN(2) == 0 {
			w.unplug(uid)
		}
		p.Ended, p.Ready, p.Started = true, 0, 0
		w.api.put(pods, key, p)
		if w.present[uid] != nil {
			return
		}
	case 2: // forced: its network is there a while longer
		w.api.put(pods, key, nil)
		return
	default:
		w.unplug(uid)
		w.api.put(pods, key, nil)
	}
	delete(w.running, uid)
}
