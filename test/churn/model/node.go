package model

import (
	"net/netip"
	"time"
)

// Sandbox is the network of a pod as it really is: one link and one address.
type Sandbox struct {
	Pod  Key
	UID  string
	Addr netip.Addr
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
		if !s.Gone && s.Addr == addr {
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
// know that the pod is at the other end of the sandbox's link: the link, and a
// status with its address and evidence that is not older. Where another pod that
// can claim the address is told of as well, nobody may be believed.
func (n *Node) Sure(s *Sandbox, told *Objects) bool {
	p, ok := told.told(s)
	since := s.Since.Unix()
	switch {
	case !ok || !n.Complete || s.Gone || !s.Up:
		return false
	case p.HostNetwork || p.Ending || p.Addr != s.Addr || p.Evidence() < since:
		return false
	}
	for _, other := range told.Pods {
		if other.UID != p.UID && other.claims(s.Addr) && (other.Evidence() >= since || n.holds(other.UID, s.Addr)) {
			return false
		}
	}
	return !n.holds(p.UID, s.Addr, s)
}

// claims reports whether the pod is told of as having the address.
func (p *Pod) claims(addr netip.Addr) bool {
	return p.Addr == addr && !p.Ended && !p.HostNetwork
}

// holds reports whether, for all that the agent knows of links, the pod is still
// where it was.
func (n *Node) holds(uid string, addr netip.Addr, but ...*Sandbox) bool {
	for _, s := range n.Sandboxes {
		if s.UID == uid && s.Addr == addr && s.Up && !s.Down && (len(but) == 0 || but[0] != s) {
			return true
		}
	}
	return false
}
