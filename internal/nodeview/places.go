package nodeview

import (
	"net/netip"
	"slices"
)

// Place is an address that the API server gives to a pod, and whether the pod is
// believed to have it.
type Place struct {
	Addr netip.Addr
	// Link is the interface that the address is on, as far as one is known; else 0.
	Link int
	// Err is why the pod is not believed: what ByIP says to who calls from there.
	Err error
	// Rivals are other pods that are told to have the address, or claim one behind
	// the same link, as NAMESPACE/NAME. Behind a link that pods share there are none.
	Rivals []string
}

// Places tells of each address of a pod of this node whether the pod would be
// known by it. It is for people: who calls, ByIP says.
func (v *View) Places(namespace, podName string) []Place {
	v.mu.RLock()
	e, ok := v.byName[name{namespace, podName}]
	v.mu.RUnlock()
	if !ok {
		return nil
	}
	links, _ := v.routes(e.addrs) // the kernel is not asked with the view locked
	v.mu.RLock()
	defer v.mu.RUnlock()
	var places []Place
	for _, a := range e.addrs {
		p := Place{Addr: a, Link: links[a]}
		if c, ok := e.claims[a]; ok {
			p.Link = c.link
		}
		claimant, err := v.claimant(a, p.Link)
		if p.Err = err; err == nil && claimant != e {
			p.Err = ErrOtherLink
		}
		p.Rivals = v.rivals(e, a, p.Link)
		places = append(places, p)
	}
	return places
}

// rivals are other pods with the same address, or on the same link unless that is
// shared. v.mu is held.
func (v *View) rivals(e *podEntry, a netip.Addr, link int) []string {
	var names []string
	add := func(other *podEntry) {
		n := other.pod.Namespace + "/" + other.pod.Name
		if other != e && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	for _, other := range v.byIP[a] {
		add(other)
	}
	if l, ok := v.links[link]; ok && !l.shared() {
		for uid := range v.claimants[link] {
			if other, ok := v.pods[uid]; ok {
				add(other)
			}
		}
	}
	slices.Sort(names)
	return names
}
