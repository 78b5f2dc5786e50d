package model

import (
	"net/netip"
	"time"
)

// Sandbox is the network of a pod as it really is: one link, and an address of
// one family or of each.
type Sandbox struct {
	Pod Key
	UID string
	// Addr is the first address, Second one of the other family; the zero value
	// for none.
	Addr, Second netip.Addr
	// Link and Hardware are the interface at the node's end.
	Link     int
	Hardware string
	// Born is when the link was made, Since what the agent counts it from: the
	// moment it was told, or an earlier one.
	Born, Since time.Time
	// Gone says that there is no such link any more. Up and Down say what the
	// agent has been told of.
	Gone, Up, Down bool
}

// Has reports whether the address is one of the sandbox's.
func (s *Sandbox) Has(addr netip.Addr) bool {
	return addr.IsValid() && (s.Addr == addr || s.Second == addr)
}

// Node is what really is: which pod is at the other end of which link.
type Node struct {
	// Sandboxes are all that matter still: those that there are, and those that
	// are gone and not yet told to be.
	Sandboxes []*Sandbox
	// Complete says that the agent has been told everything once.
	Complete bool
}

// At is the sandbox that has the address, nil for none.
func (n *Node) At(addr netip.Addr) *Sandbox {
	for _, s := range n.Sandboxes {
		if !s.Gone && s.Has(addr) {
			return s
		}
	}
	return nil
}

// Of is the sandbox of a pod, nil for none.
func (n *Node) Of(uid string) *Sandbox {
	for _, s := range n.Sandboxes {
		if !s.Gone && s.UID == uid {
			return s
		}
	}
	return nil
}

// Forget drops what nobody will hear of again.
func (n *Node) Forget() {
	kept := n.Sandboxes[:0]
	for _, s := range n.Sandboxes {
		if !s.Gone || (s.Up && !s.Down) {
			kept = append(kept, s)
		}
	}
	clear(n.Sandboxes[len(kept):])
	n.Sandboxes = kept
}

// told is the pod of the sandbox as the API server has told of it; false where
// it has not, or of one that is over.
func (o *Objects) told(s *Sandbox) (Pod, bool) {
	p, ok := o.Pods[s.Pod]
	return p, ok && p.UID == s.UID && !p.Ended
}

// Sure reports whether everything has been delivered that the agent needs to
// know that the pod is at the other end of the sandbox's link, by each of its
// addresses.
func (n *Node) Sure(s *Sandbox, told *Objects) bool {
	return n.SureAt(s, s.Addr, told) && (!s.Second.IsValid() || n.SureAt(s, s.Second, told))
}

// SureAt is Sure for one address of the sandbox: the link has been told of, and
// a status with that address and evidence that is not older. Where another pod
// that can claim an address of the sandbox is told of as well, nobody may be
// believed.
func (n *Node) SureAt(s *Sandbox, addr netip.Addr, told *Objects) bool {
	p, ok := told.told(s)
	switch {
	case !ok || !n.Complete || s.Gone || !s.Up:
		return false
	case !n.shows(s, &p, addr):
		return false
	}
	for _, other := range told.Pods {
		if other.UID == p.UID || other.Ended || other.HostNetwork {
			continue
		}
		for _, a := range []netip.Addr{s.Addr, s.Second} {
			if other.tells(a) && (other.Evidence() >= s.Since.Unix() || n.holds(other.UID, a)) {
				return false
			}
		}
	}
	return !n.holds(p.UID, s.Addr, s) && !n.holds(p.UID, s.Second, s)
}

// shows reports whether the pod's status tells of the address with evidence that
// it is on the sandbox's link.
func (n *Node) shows(s *Sandbox, p *Pod, addr netip.Addr) bool {
	return !p.HostNetwork && !p.Ending && p.tells(addr) && p.Evidence() >= s.Since.Unix()
}

// Twins reports whether another pod that lives has the address too, and whether
// the agent has been told everything of both: then it must believe neither.
func (n *Node) Twins(s *Sandbox, addr netip.Addr, told *Objects) (there, known bool) {
	for _, other := range n.Sandboxes {
		if other == s || other.Gone || s.Gone || !other.Has(addr) {
			continue
		}
		p, ok1 := told.told(s)
		q, ok2 := told.told(other)
		known = ok1 && ok2 && n.Complete && s.Up && other.Up && n.shows(s, &p, addr) && n.shows(other, &q, addr)
		return true, known
	}
	return false, false
}

// tells reports whether the pod is told of as having the address.
func (p *Pod) tells(addr netip.Addr) bool {
	return addr.IsValid() && (p.Addr == addr || p.Second == addr)
}

// holds reports whether, for all that the agent knows of links, the pod is still
// where it was.
func (n *Node) holds(uid string, addr netip.Addr, but ...*Sandbox) bool {
	for _, s := range n.Sandboxes {
		if s.UID == uid && s.Has(addr) && s.Up && !s.Down && (len(but) == 0 || but[0] != s) {
			return true
		}
	}
	return false
}
