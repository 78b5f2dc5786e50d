package churn_test

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/podid-io/podid/test/churn/model"
)

const (
	maxConns = 60
	maxCalls = 3 // of one pod under way
)

// request sends a request, on a connection of any kind, and waits for what comes
// of it.
func (w *world) request() bool {
	sent := w.sendSome()
	if w.r.IntN(64) == 0 {
		w.comeSilent()
	}
	w.rest()
	w.trim()
	return sent
}

// sendSome sends one or a few requests, and does not wait.
func (w *world) sendSome() (sent bool) {
	for range 1 + w.r.IntN(8)/7*w.r.IntN(3) {
		c := w.anyConn()
		if c == nil {
			continue
		}
		a := w.anyAsk(c.wire.from)
		w.say("%s asks for %q by link %d, first time: %t", c.wire.from.UID, a.ClientID, c.wire.link, !c.pinned)
		w.ask(c, a)
		sent = true
	}
	return sent
}

// meanwhile sends a request at the moment at which something else happens. Which
// of both comes first is not for the story to say, so it never asks on that
// connection again: a seed tells the same story each time.
func (w *world) meanwhile() {
	c := w.anyConn()
	if c == nil {
		return
	}
	w.say("meanwhile, %s asks by link %d, first time: %t", c.wire.from.UID, c.wire.link, !c.pinned)
	c.aside = true
	w.ask(c, w.anyAsk(c.wire.from))
}

// comeSilent connects from a pod, to ask nothing.
func (w *world) comeSilent() {
	here := w.here()
	if len(here) == 0 {
		return
	}
	from := pick(w, here)
	if c := w.dial(from, w.anySource(from)); c != nil {
		w.say("%s comes, and asks nothing", from.UID)
		c.aside, c.silent = true, true
	}
}

// anyConn is an old connection that waits for nothing, now and then one whose
// link is another pod's now, or a new one; nil for none.
func (w *world) anyConn() *conn {
	waiting := make(map[*model.Sandbox]int)
	for _, c := range w.conns {
		if c.call != nil && !c.aside {
			waiting[c.wire.from]++
		}
	}
	var old, others []*conn
	for _, c := range w.conns {
		if from := c.wire.from; c.call == nil && !c.aside && waiting[from] < maxCalls && (!from.Gone || c.pinned || w.linkIsFree(c.wire.link)) { // else see reusable
			old = append(old, c)
			if from.Gone && !w.linkIsFree(c.wire.link) {
				others = append(others, c)
			}
		}
	}
	if len(others) > 0 && w.r.IntN(16) == 0 {
		return pick(w, others)
	}
	if len(old) > 0 && w.r.IntN(4) > 0 {
		return pick(w, old)
	}
	here := slices.DeleteFunc(w.here(), func(s *model.Sandbox) bool { return waiting[s] >= maxCalls })
	if len(here) == 0 {
		return nil
	}
	from := pick(w, here)
	source := w.anySource(from)
	if w.r.IntN(20) == 0 { // it says that it is another
		source = pick(w, pick(w, [][]netip.Addr{addresses, seconds}))
	}
	return w.dial(from, source)
}

// anySource is one of the sandbox's addresses.
func (w *world) anySource(s *model.Sandbox) netip.Addr {
	if s.Second.IsValid() && w.r.IntN(2) == 0 {
		return s.Second
	}
	return s.Addr
}

// here are the sandboxes that there are.
func (w *world) here() []*model.Sandbox {
	list := make([]*model.Sandbox, 0, len(w.present))
	for _, uid := range slices.Sorted(maps.Keys(w.present)) {
		list = append(list, w.present[uid])
	}
	return list
}

// anyAsk is what the pod's own identities, or those of others, make one ask for.
func (w *world) anyAsk(from *model.Sandbox) model.Ask {
	a := model.Ask{Resource: pick(w, resources)}
	switch w.r.IntN(6) {
	case 0:
		a.ClientID = clientID(pick(w, namespaceNames), w.r.IntN(5))
	case 1, 2:
		if p, ok := w.api.told.Pods[from.Pod]; ok {
			if grants := w.api.told.Grants(&p); len(grants) > 0 {
				a.ClientID = strings.ToUpper(pick(w, grants).ClientID)
			}
		}
	}
	return a
}

// trim hangs up on some connections where there are too many: those that wait
// for nothing.
func (w *world) trim() {
	for {
		var idle []*conn
		others := 0
		for _, c := range w.conns {
			switch {
			case c.aside:
			case c.call == nil:
				idle = append(idle, c)
			default:
				others++
			}
		}
		if len(idle) == 0 || len(idle)+others <= maxConns {
			return
		}
		one := pick(w, idle)
		w.hangUp(func(c *conn) bool { return c == one })
	}
}

func clientID(namespace string, n int) string {
	return fmt.Sprintf("%s-0000-0000-%d", namespace, n)
}

// changeObject makes, changes or removes an object that grants are made of.
func (w *world) changeObject() bool {
	ns, name := pick(w, namespaceNames), pick(w, objectNames)
	key := model.Key{Namespace: ns, Name: name}
	away := w.r.IntN(8) == 0
	put := func(k kind, key model.Key, object any) bool {
		if away {
			object = nil
		}
		w.say("%s %v is %v", k.resource().plural, key, object)
		return w.api.put(k, key, object)
	}
	switch w.r.IntN(8) {
	case 0, 1:
		id := model.Identity{Key: key, ClientID: clientID(ns, w.r.IntN(5)), ResourceID: "/subscriptions/s/" + ns + "/" + name}
		return put(identities, key, id)
	case 2, 3, 4:
		return put(bindings, key, model.Binding{Key: key, Identity: pick(w, objectNames), Selector: pick(w, labels), Weight: w.r.IntN(3)})
	case 5:
		away = false
		n := model.Namespace{Name: ns}
		if w.r.IntN(3) > 0 {
			n.Binding = name
		}
		return put(namespaces, model.Key{Name: ns}, n)
	case 6:
		away = away || w.r.IntN(3) > 0
		return put(exceptions, key, model.Exception{Key: key, App: pick(w, apps[1:])})
	default:
		return w.rename(key)
	}
}

// rename gives an identity, or a binding of the kind, another name.
func (w *world) rename(key model.Key) (did bool) {
	if id, ok := w.api.holds.Identities[key]; ok {
		w.api.put(identities, key, nil)
		id.Name = pick(w, objectNames)
		w.say("identity %v is now %s", key, id.Name)
		w.api.put(identities, id.Key, id)
		did = true
	}
	if b, ok := w.api.holds.Bindings[key]; ok {
		w.api.put(bindings, key, nil)
		b.Name = pick(w, objectNames)
		w.say("binding %v is now %s", key, b.Name)
		w.api.put(bindings, b.Key, b)
		did = true
	}
	return did
}

// attach says of identities that they are on the node for a pod, as mic does:
// those that it is entitled to, and now and then one that it is not.
func (w *world) attach() (did bool) {
	uid, ok := w.anyPod()
	if !ok {
		return false
	}
	p := w.api.holds.Pods[w.running[uid].key]
	grants := w.api.holds.Grants(&p)
	if w.r.IntN(8) == 0 {
		for _, key := range sortedKeys(w.api.holds.Identities) {
			grants = append(grants, w.api.holds.Identities[key])
		}
	}
	if len(grants) == 0 {
		return w.detach()
	}
	w.say("%d identities are attached for %v", len(grants), p.Key)
	for _, id := range grants {
		a := model.Assigned{
			Key:     model.Key{Namespace: p.Namespace, Name: p.Name + "." + id.Namespace + "." + id.Name},
			PodName: p.Name, PodUID: p.UID, Identity: id.Key, ClientID: id.ClientID, ResourceID: id.ResourceID,
			Usable: w.r.IntN(8) > 0,
		}
		if w.r.IntN(10) == 0 {
			a.PodUID = "" // as AAD Pod Identity wrote them
		}
		did = w.api.put(assigned, a.Key, a) || did
	}
	return did
}

// detach removes what is left of pods that are gone, or anything.
func (w *world) detach() (did bool) {
	for _, key := range sortedKeys(w.api.holds.Assigned) {
		a := w.api.holds.Assigned[key]
		if p, ok := w.api.holds.Pods[model.Key{Namespace: a.Namespace, Name: a.PodName}]; !ok || (a.PodUID != p.UID && a.PodUID != "") || w.r.IntN(20) == 0 {
			w.say("what was attached for %v is not any more", key)
			did = w.api.put(assigned, key, nil) || did
		}
	}
	return did
}

// collect removes what pods leave behind: networks of those that were removed by
// force or have ended, objects of those that have ended, and pods on the node's
// own network.
func (w *world) collect() (did bool) {
	for _, uid := range slices.Sorted(maps.Keys(w.running)) {
		key := w.running[uid].key
		if p, ok := w.api.holds.Pods[key]; (!ok || p.UID != uid || p.Ended) && w.mayUnplug(uid) && w.r.IntN(4) == 0 {
			w.unplug(uid)
			delete(w.running, uid)
			w.say("%s, removed by force or ended, has no network any more", uid)
			did = true
		}
	}
	for _, key := range sortedKeys(w.api.holds.Pods) {
		if p := w.api.holds.Pods[key]; (p.Ended || p.HostNetwork) && w.r.IntN(2) == 0 {
			w.say("pod %v, which has no network, is removed", key)
			did = w.api.put(pods, key, nil) || did
		}
	}
	return did
}

// settle has everything delivered, and every pod ask by each of its addresses: it
// must get what it has coming, at once. What was held before is mostly held to
// its end.
func (w *world) settle() {
	w.say("everything is delivered")
	w.tellLinks()
	newest := time.Now().Unix()
	for _, s := range w.here() {
		newest = max(newest, w.running[s.UID].evidence)
	}
	w.after(newest)
	for _, s := range w.here() {
		w.running[s.UID].started = time.Now().Unix()
		w.prove(s.UID)
		w.report(s.UID)
	}
	w.flushStale()
	w.catchUp()
	w.hangUp(func(c *conn) bool { return c.call == nil && w.r.IntN(2) == 0 })
	w.rest()
	for _, s := range w.here() {
		if p, ok := w.api.told.Pods[s.Pod]; ok && p.UID == s.UID && !p.Ended && !p.Ending && !w.node.Sure(s, w.api.told) {
			w.fail(fmt.Errorf("the model cannot tell whether %s has what it needs", s.UID))
		}
		for _, source := range []netip.Addr{s.Addr, s.Second} {
			if !source.IsValid() {
				continue
			}
			if c := w.dial(s, source); c != nil {
				w.ask(c, model.Ask{Resource: resources[0]})
			}
		}
	}
	w.rest()
	w.advance(model.Patience + time.Second)
	if w.r.IntN(8) > 0 {
		w.outlast()
	}
	w.hangUp(func(c *conn) bool { return c.call != nil })
	w.rest()
}

// outlast lets time pass until whatever is held has been answered.
func (w *world) outlast() {
	w.advance(model.HeldFor - time.Second)
	w.advance(2 * time.Second)
}

// catchUp delivers until there is nothing left.
func (w *world) catchUp() {
	for range 60 {
		for waiting := w.api.waiting(); len(waiting) > 0; waiting = w.api.waiting() {
			w.see()
			w.api.deliver(waiting[0], false)
			w.see()
			w.rest()
		}
		if !w.api.behind() {
			return
		}
		w.advance(time.Second)
	}
	w.fail(errors.Join(errors.New("the watches were not up again after 60 s"), w.api.broken))
}
