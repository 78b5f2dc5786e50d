package churn_test

import (
	"time"

	"github.com/podid-io/podid/test/churn/model"
)

// twins gives a new pod an address that another one has, as a broken network
// plugin does, and has both ask by it: ambiguity is refused. Everything is told
// before anybody asks, and when one of them is gone: an agent that has heard of
// one alone cannot know.
func (w *world) twins() bool {
	w.tellLinks()
	w.catchUp()
	first := w.anySure()
	if first == nil {
		return false
	}
	p, ok := w.newPod()
	for !ok && len(w.api.holds.Pods) < len(namespaceNames)*len(podNames) {
		p, ok = w.newPod()
	}
	if !ok {
		return false
	}
	shared := w.anySource(first)
	at := pair{first: shared} // and one of its own, if there is one left
	if own, free := w.freePair(); free && shared.Is6() {
		at = pair{own.first, shared}
	} else if free {
		at.second = own.second
	}
	w.newestWins = w.r.IntN(2) == 0
	w.api.put(pods, p.Key, p)
	w.running[p.UID] = &container{key: p.Key}
	w.plug(p.UID, at, 0)
	w.say("%s has %s, which is the address of %s; packets go to the newer: %t", p.UID, shared, first.UID, w.newestWins)
	w.running[p.UID].started = time.Now().Unix()
	w.prove(p.UID)
	w.report(p.UID)
	w.tellLinks()
	w.catchUp()
	twins := []*model.Sandbox{first, w.present[p.UID]}
	for range 2 + w.r.IntN(6) {
		from := pick(w, twins)
		if c := w.dial(from, shared); c != nil {
			w.ask(c, w.anyAsk(from))
		}
		w.sendSome() // also on connections from before
		w.rest()
	}
	w.count.twins++
	w.unplug(p.UID)
	delete(w.running, p.UID)
	w.api.put(pods, p.Key, nil)
	w.say("%s is gone", p.UID)
	w.tellLinks()
	w.catchUp()
	w.newestWins = false
	w.trim()
	return true
}

// anySure is a sandbox of which the agent has been told everything; nil for none.
func (w *world) anySure() *model.Sandbox {
	var sure []*model.Sandbox
	for _, s := range w.here() {
		if w.node.Sure(s, w.api.told) {
			sure = append(sure, s)
		}
	}
	if len(sure) == 0 {
		return nil
	}
	return pick(w, sure)
}
