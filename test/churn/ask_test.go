package churn_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/podid-io/podid/test/churn/model"
)

const (
	maxConns = 60
	maxCalls = 10 // that are held at a time; more are hung up on
)

// request sends a request, on a connection of any kind, and waits for what comes
// of it.
func (w *world) request() {
	w.sendSome()
	w.rest()
	w.trim()
}

// sendSome sends one or a few requests, and does not wait.
func (w *world) sendSome() {
	for range 1 + w.r.IntN(8)/7*w.r.IntN(3) {
		c := w.anyConn()
		if c == nil || c.call != nil {
			continue
		}
		a := w.anyAsk(c.wire.from)
		w.say("%s asks for %q by link %d, first time: %t", c.wire.from.UID, a.ClientID, c.wire.link, !c.pinned)
		w.ask(c, a)
	}
}

// anyConn is an old connection, or a new one.
func (w *world) anyConn() *conn {
	if len(w.conns) > 0 && w.r.IntN(4) > 0 {
		c := pick(w, w.conns)
		if !c.wire.from.Gone || c.pinned || w.linkIsFree(c.wire.link) {
			return c
		}
		return nil // see reusable
	}
	here := w.here()
	if len(here) == 0 {
		return nil
	}
	from := pick(w, here)
	source := from.Addr
	if w.r.IntN(20) == 0 {
		source = pick(w, addresses) // it says that it is another
	}
	return w.dial(from, source)
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

// trim hangs up where there are too many connections, or calls that are held.
func (w *world) trim() {
	calls := 0
	w.hangUp(func(c *conn) bool {
		if c.call != nil {
			calls++
			return calls > maxCalls
		}
		return false
	})
	if n := len(w.conns) - maxConns; n > 0 {
		first := w.r.IntN(maxConns)
		i := 0
		w.hangUp(func(*conn) bool { i++; return i > first && i <= first+n })
	}
}

func clientID(namespace string, n int) string {
	return fmt.Sprintf("%s-0000-0000-%d", namespace, n)
}

// changeObject makes, changes or removes an object that grants are made of.
func (w *world) changeObject() {
	ns, name := pick(w, namespaceNames), pick(w, objectNames)
	key := model.Key{Namespace: ns, Name: name}
	away := w.r.IntN(8) == 0
	put := func(k kind, key model.Key, object any) {
		if away {
			object = nil
		}
		w.say("%s %v is %v", k.resource().plural, key, object)
		w.api.put(k, key, object)
	}
	switch w.r.IntN(8) {
	case 0, 1:
		id := model.Identity{Key: key, ClientID: clientID(ns, w.r.IntN(5)), ResourceID: "/subscriptions/s/" + ns + "/" + name}
		put(identities, key, id)
	case 2, 3, 4:
		put(bindings, key, model.Binding{Key: key, Identity: pick(w, objectNames), Selector: pick(w, labels), Weight: w.r.IntN(3)})
	case 5:
		away = false
		n := model.Namespace{Name: ns}
		if w.r.IntN(3) > 0 {
			n.Binding = name
		}
		put(namespaces, model.Key{Name: ns}, n)
	case 6:
		away = away || w.r.IntN(3) > 0
		put(exceptions, key, model.Exception{Key: key, App: pick(w, apps[1:])})
	default:
		w.rename(key)
	}
}

// rename gives an identity, or a binding of the kind, another name.
func (w *world) rename(key model.Key) {
	if id, ok := w.api.holds.Identities[key]; ok {
		w.api.put(identities, key, nil)
		id.Name = pick(w, objectNames)
		w.say("identity %v is now %s", key, id.Name)
		w.api.put(identities, id.Key, id)
	}
	if b, ok := w.api.holds.Bindings[key]; ok {
		w.api.put(bindings, key, nil)
		b.Name = pick(w, objectNames)
		w.say("binding %v is now %s", key, b.Name)
		w.api.put(bindings, b.Key, b)
	}
}

// attach says of identities that they are on the node for a pod, as mic does:
// those that it is entitled to, and now and then one that it is not.
func (w *world) attach() {
	uid, ok := w.anyPod()
	if !ok {
		return
	}
	p := w.api.holds.Pods[w.running[uid].key]
	grants := w.api.holds.Grants(&p)
	if w.r.IntN(8) == 0 {
		for _, key := range sortedKeys(w.api.holds.Identities) {
			grants = append(grants, w.api.holds.Identities[key])
		}
	}
	if len(grants) == 0 {
		w.detach()
		return
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
		if before, ok := w.api.holds.Assigned[a.Key]; !ok || before != a {
			w.api.put(assigned, a.Key, a)
		}
	}
}

// detach removes what is left of pods that are gone, or anything.
func (w *world) detach() {
	for _, key := range sortedKeys(w.api.holds.Assigned) {
		a := w.api.holds.Assigned[key]
		if p, ok := w.api.holds.Pods[model.Key{Namespace: a.Namespace, Name: a.PodName}]; !ok || (a.PodUID != p.UID && a.PodUID != "") || w.r.IntN(20) == 0 {
			w.say("what was attached for %v is not any more", key)
			w.api.put(assigned, key, nil)
		}
	}
}

// collect removes what pods leave behind: networks of those that were removed by
// force or have ended, objects of those that have ended, and pods on the node's
// own network.
func (w *world) collect() {
	for _, uid := range slices.Sorted(maps.Keys(w.running)) {
		key := w.running[uid].key
		if p, ok := w.api.holds.Pods[key]; (!ok || p.UID != uid || p.Ended) && w.mayUnplug(uid) && w.r.IntN(2) == 0 {
			w.unplug(uid)
			delete(w.running, uid)
			w.say("%s, removed by force or ended, has no network any more", uid)
		}
	}
	for _, key := range sortedKeys(w.api.holds.Pods) {
		if p := w.api.holds.Pods[key]; (p.Ended || p.HostNetwork) && w.r.IntN(2) == 0 {
			w.say("pod %v, which has no network, is removed", key)
			w.api.put(pods, key, nil)
		}
	}
}

// settle has everything delivered, and every pod ask: it must get what it has
// coming, at once.
func (w *world) settle() {
	w.say("everything is delivered")
	for w.tellLink() {
	}
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
	w.hangUp(func(c *conn) bool { return c.call != nil || w.r.IntN(2) == 0 })
	w.rest()
	for _, s := range w.here() {
		if p, ok := w.api.told.Pods[s.Pod]; ok && p.UID == s.UID && !p.Ended && !p.Ending && !w.node.Sure(s, w.api.told) {
			w.fail(fmt.Errorf("the model cannot tell whether %s has what it needs", s.UID))
		}
		if c := w.dial(s, s.Addr); c != nil {
			w.ask(c, model.Ask{Resource: resources[0]})
		}
	}
	w.rest()
	w.advance(model.Patience + time.Second)
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
