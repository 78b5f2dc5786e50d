// Package nodeview is the read model of one node: which pod has an address,
// and what binds it. It is fed by watches and tells whoever waits when anything
// has changed; nothing in it polls.
package nodeview

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/podid-io/podid/internal/identity"
)

// Errors of ByIP. Each can end by itself: wait for a change.
var (
	// ErrNotSynced means that the watches have not delivered everything yet.
	ErrNotSynced = errors.New("the view of the node is not complete yet")
	// ErrUnknown means that no running pod of this node has the address.
	ErrUnknown = errors.New("no running pod of this node has the address")
	// ErrOtherLink means that the pod that has the address, as far as the API
	// server has told, is not at the other end of this link.
	ErrOtherLink = errors.New("the address belongs to a pod on another link")
	// ErrAmbiguous means that several pods claim the address; none is believed.
	ErrAmbiguous = errors.New("several pods of this node claim the address")
)

// Found is the pod behind an address.
type Found struct {
	Pod identity.Pod
	// Grants is what the pod is entitled to, the default first, with Ready set
	// for what is on the node. It is shared: do not change it.
	Grants []identity.Grant
}

// View answers from memory. The zero value is not usable; see New.
type View struct {
	rules  identity.Rules
	linkOf func(netip.Addr) int

	mu         sync.RWMutex
	changed    chan struct{} // closed at the next change. This and all below are guarded by mu.
	generation uint64        // counts changes of anything that grants are made of
	synced     bool
	pods       map[string]*podEntry // by uid
	byIP       map[netip.Addr][]*podEntry
	identities map[name]identity.Identity
	bindings   map[name]identity.Binding
	bySelector map[string][]identity.Binding
	assigned   map[name]assignment          // by name of the object
	byPod      map[name]map[name]assignment // by pod, then by name of the object
}

type name struct{ namespace, name string }

// podEntry is a pod and, remembered for as long as nothing changes, its grants.
type podEntry struct {
	pod    identity.Pod
	links  map[netip.Addr]int // by address, the link that it was first seen on
	grants atomic.Pointer[remembered]
}

type remembered struct {
	generation uint64
	grants     []identity.Grant
}

// assignment is what nmi takes from an AzureAssignedIdentity: evidence that an
// identity, as it was defined then, is on the node for a pod.
type assignment struct {
	podUID               string // empty on objects of AAD Pod Identity
	pod, identity        name
	resourceID, clientID string
	usable               bool
}

func newView(rules identity.Rules, linkOf func(netip.Addr) int) *View {
	return &View{
		rules:      rules,
		linkOf:     linkOf,
		changed:    make(chan struct{}),
		pods:       make(map[string]*podEntry),
		byIP:       make(map[netip.Addr][]*podEntry),
		identities: make(map[name]identity.Identity),
		bindings:   make(map[name]identity.Binding),
		bySelector: make(map[string][]identity.Binding),
		assigned:   make(map[name]assignment),
		byPod:      make(map[name]map[name]assignment),
	}
}

// ByIP finds the running pod of this node that has the address and is at the
// other end of the link (an interface index). The channel is closed at the next
// change of anything after the answer was true. Errors are ErrNotSynced,
// ErrUnknown, ErrOtherLink and ErrAmbiguous.
//
// A pod has an address only together with the link that the address was on when
// the API server told of it. So a new pod that comes by an old address, on a
// link of its own, is nobody until the API server has told of it too: it never
// gets what the old one got.
func (v *View) ByIP(addr netip.Addr, link int) (Found, <-chan struct{}, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	claims := v.byIP[addr]
	switch {
	case !v.synced:
		return Found{}, v.changed, ErrNotSynced
	case len(claims) == 0:
		return Found{}, v.changed, ErrUnknown
	case len(claims) > 1:
		return Found{}, v.changed, ErrAmbiguous
	case link == 0 || claims[0].links[addr] != link:
		return Found{}, v.changed, ErrOtherLink
	}
	e := claims[0]
	r := e.grants.Load()
	if r == nil || r.generation != v.generation {
		r = &remembered{generation: v.generation, grants: v.grants(e.pod)}
		e.grants.Store(r)
	}
	return Found{Pod: e.pod, Grants: r.grants}, v.changed, nil
}

// grants computes what a pod is entitled to. v.mu is held.
func (v *View) grants(pod identity.Pod) []identity.Grant {
	lookup := func(namespace, n string) (identity.Identity, bool) {
		id, ok := v.identities[name{namespace, n}]
		return id, ok
	}
	grants := identity.Match(pod, v.bySelector[pod.Selector], lookup, v.rules)
	for i := range grants {
		grants[i].Ready = v.ready(pod, grants[i].Identity)
	}
	return grants
}

// ready reports whether a token of id can be had on this node: by evidence for
// this very pod, and for the ids that the identity has now. v.mu is held.
func (v *View) ready(pod identity.Pod, id identity.Identity) bool {
	for _, a := range v.byPod[name{pod.Namespace, pod.Name}] {
		if a.usable &&
			(a.podUID == "" || a.podUID == pod.UID) &&
			a.identity == (name{id.Namespace, id.Name}) &&
			a.resourceID == id.ResourceID && a.clientID == id.ClientID {
			return true
		}
	}
	return false
}

// change runs f with the view locked and wakes everybody who waits.
func (v *View) change(f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f()
	v.generation++
	close(v.changed)
	v.changed = make(chan struct{})
}

// setPod records a pod with its addresses; without any it is forgotten. An
// address that it had keeps its link, if it had one. A pod on its way out gets
// no new link: its address may be another's already.
func (v *View) setPod(pod identity.Pod, addrs []netip.Addr, ending bool) {
	links := make(map[netip.Addr]int, len(addrs))
	for _, a := range addrs {
		if links[a] = v.link(pod.UID, a); links[a] == 0 && !ending {
			links[a] = v.linkOf(a)
		}
	}
	v.change(func() {
		v.dropPod(pod.UID)
		if len(addrs) == 0 {
			return
		}
		e := &podEntry{pod: pod, links: links}
		v.pods[pod.UID] = e
		for a := range links {
			v.byIP[a] = append(v.byIP[a], e)
		}
	})
}

// link is the link that an address of a pod was first seen on, or 0.
func (v *View) link(uid string, a netip.Addr) int {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if e, ok := v.pods[uid]; ok {
		return e.links[a]
	}
	return 0
}

func (v *View) deletePod(uid string) {
	v.change(func() { v.dropPod(uid) })
}

// dropPod forgets a pod. v.mu is held.
func (v *View) dropPod(uid string) {
	e, ok := v.pods[uid]
	if !ok {
		return
	}
	delete(v.pods, uid)
	for a := range e.links {
		v.byIP[a] = without(v.byIP[a], e)
		if len(v.byIP[a]) == 0 {
			delete(v.byIP, a)
		}
	}
}

func (v *View) setIdentity(id identity.Identity) {
	v.change(func() { v.identities[name{id.Namespace, id.Name}] = id })
}

func (v *View) deleteIdentity(n name) {
	v.change(func() { delete(v.identities, n) })
}

func (v *View) setBinding(b identity.Binding) {
	v.change(func() {
		v.dropBinding(name{b.Namespace, b.Name})
		v.bindings[name{b.Namespace, b.Name}] = b
		if b.Selector != "" {
			v.bySelector[b.Selector] = append(v.bySelector[b.Selector], b)
		}
	})
}

func (v *View) deleteBinding(n name) {
	v.change(func() { v.dropBinding(n) })
}

// dropBinding forgets a binding. v.mu is held.
func (v *View) dropBinding(n name) {
	b, ok := v.bindings[n]
	if !ok {
		return
	}
	delete(v.bindings, n)
	v.bySelector[b.Selector] = without(v.bySelector[b.Selector], b)
	if len(v.bySelector[b.Selector]) == 0 {
		delete(v.bySelector, b.Selector)
	}
}

func (v *View) setAssigned(n name, a assignment) {
	v.change(func() {
		v.dropAssigned(n)
		v.assigned[n] = a
		if v.byPod[a.pod] == nil {
			v.byPod[a.pod] = make(map[name]assignment)
		}
		v.byPod[a.pod][n] = a
	})
}

func (v *View) deleteAssigned(n name) {
	v.change(func() { v.dropAssigned(n) })
}

// dropAssigned forgets an AzureAssignedIdentity. v.mu is held.
func (v *View) dropAssigned(n name) {
	a, ok := v.assigned[n]
	if !ok {
		return
	}
	delete(v.assigned, n)
	delete(v.byPod[a.pod], n)
	if len(v.byPod[a.pod]) == 0 {
		delete(v.byPod, a.pod)
	}
}

// setSynced says that everything there was at the start is in the view.
func (v *View) setSynced() {
	v.change(func() { v.synced = true })
}

// without returns a copy of list without its element x, so that no slice that
// somebody was given changes under him.
func without[T comparable](list []T, x T) []T {
	out := make([]T, 0, len(list))
	for _, e := range list {
		if e != x {
			out = append(out, e)
		}
	}
	return out
}
