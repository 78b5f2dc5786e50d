// Package nodeview is the read model of one node: which pod has an address,
// and what binds it. It is fed by watches, and by the kernel's word of links,
// and tells whoever waits when anything has changed; nothing in it polls.
package nodeview

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
)

// Errors of ByIP and ByName. Each can end by itself: wait for a change.
var (
	// ErrNotSynced means that the watches have not delivered everything yet.
	ErrNotSynced = errors.New("the view of the node is not complete yet")
	// ErrUnknown means that no running pod of this node has the address or name.
	ErrUnknown = errors.New("no running pod of this node is known by that")
	// ErrOtherLink means that no pod is known to have the address on this link:
	// the API server tells of one, but on another, or not since the link came.
	ErrOtherLink = errors.New("no pod is known to have the address on the link that it came by")
	// ErrAmbiguous means that several pods claim the address; none is believed.
	ErrAmbiguous = errors.New("several pods of this node claim the address")
)

// Found is a pod, and what it may have.
type Found struct {
	Pod identity.Pod
	// Grants is what the pod is entitled to, the default first, with Ready set
	// for what is on the node. It is shared: do not change it.
	Grants []identity.Grant
	// Barred is what the pod is bound to and kept from by a list, for the words of a
	// refusal alone.
	Barred []identity.Barred
	// Exception is the exception that the pod falls under; nil for none.
	Exception *identity.Exception
	// SecretsStore says that the pod mounts a volume of the secrets store driver.
	SecretsStore bool
	// Prefetch are the resources that the pod's annotation podid.io/prefetch
	// names. It is shared: do not change it.
	Prefetch []string
}

// View answers from memory. The zero value is not usable; see New.
type View struct {
	rules   identity.Rules
	managed bool
	linkOf  func(netip.Addr) int
	boot    time.Time
	age     func() time.Duration
	dirty   chan struct{} // holds one element when what is to be remembered has changed

	mu         sync.RWMutex
	changed    chan struct{} // closed at the next change. This and all below are guarded by mu.
	generation uint64        // counts changes of anything that grants are made of
	synced     bool
	pods       map[string]*podEntry // by uid
	byName     map[name]*podEntry
	byIP       map[netip.Addr][]*podEntry // all that say so; see claims
	claimants  map[int]map[string]int     // by link, how many addresses each pod (by uid) has there
	identities map[name]identity.Identity
	bindings   map[name]identity.Binding
	bySelector map[string][]identity.Binding
	exceptions map[string][]identity.Exception // by namespace
	annotated  map[string]string               // by namespace, the binding of its pods without a label
	assigned   map[name]assignment             // by name of the object
	byPod      map[name]map[name]assignment    // by pod, then by name of the object

	links  map[int]link
	serial uint64  // counts links that came and went
	memory *memory // of the agent before, until the view is complete; may be nil
}

type name struct{ namespace, name string }

// podEntry is a pod and, remembered for as long as nothing changes, what it may
// have.
type podEntry struct {
	seen
	claims map[netip.Addr]claim
	floor  time.Time // the evidence under which it had a link that is gone
	known  atomic.Pointer[known]
}

type known struct {
	generation uint64
	found      Found
}

// assignment is what nmi takes from an AzureAssignedIdentity: evidence that an
// identity, as it was defined then, is on the node for a pod.
type assignment struct {
	podUID               string // empty on objects of AAD Pod Identity
	pod, identity        name
	resourceID, clientID string
	usable               bool
}

func newView(c Config) *View {
	return &View{
		rules:      c.Rules,
		managed:    c.Managed,
		linkOf:     c.LinkOf,
		boot:       c.Boot,
		dirty:      make(chan struct{}, 1),
		changed:    make(chan struct{}),
		pods:       make(map[string]*podEntry),
		byName:     make(map[name]*podEntry),
		byIP:       make(map[netip.Addr][]*podEntry),
		identities: make(map[name]identity.Identity),
		bindings:   make(map[name]identity.Binding),
		bySelector: make(map[string][]identity.Binding),
		exceptions: make(map[string][]identity.Exception),
		annotated:  make(map[string]string),
		assigned:   make(map[name]assignment),
		byPod:      make(map[name]map[name]assignment),
		links:      make(map[int]link),
		claimants:  make(map[int]map[string]int),
	}
}

// ByIP finds the running pod of this node that has the address and is at the
// other end of the link (an interface index). The channel is closed at the next
// change of anything after the answer was true. Errors are ErrNotSynced,
// ErrUnknown, ErrOtherLink and ErrAmbiguous.
//
// A pod has an address only together with a link; see LinkUp. So a new pod that
// comes by an old address, on a link of its own, is nobody until the API server
// has told of it too: it never gets what the old one got.
func (v *View) ByIP(addr netip.Addr, link int) (Found, <-chan struct{}, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if !v.synced {
		return Found{}, v.changed, ErrNotSynced
	}
	e, err := v.claimant(addr, link)
	if err != nil {
		return Found{}, v.changed, err
	}
	return v.found(e), v.changed, nil
}

// claimant is the one pod that has the address, if it is on that link. v.mu is
// held.
func (v *View) claimant(addr netip.Addr, link int) (*podEntry, error) {
	told := v.byIP[addr]
	if len(told) == 0 {
		return nil, ErrUnknown
	}
	var claimant *podEntry
	var on claim
	for _, e := range told {
		c, ok := e.claims[addr]
		switch {
		case !ok:
		case claimant != nil:
			return nil, ErrAmbiguous
		default:
			claimant, on = e, c
		}
	}
	l, ok := v.links[link]
	switch {
	case claimant == nil || !ok || on.link != link:
		return nil, ErrOtherLink
	case l.shared() && claimant.ending: // the address may be another's already
		return nil, ErrUnknown
	case !l.shared() && len(v.claimants[link]) > 1:
		return nil, ErrAmbiguous
	default:
		return claimant, nil
	}
}

// ByName finds a pod of this node that has not ended, also one without an
// address and one in the node's own network. The channel is that of ByIP. Errors
// are ErrNotSynced and ErrUnknown.
func (v *View) ByName(namespace, podName string) (Found, <-chan struct{}, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	e, ok := v.byName[name{namespace, podName}]
	switch {
	case !v.synced:
		return Found{}, v.changed, ErrNotSynced
	case !ok:
		return Found{}, v.changed, ErrUnknown
	default:
		return v.found(e), v.changed, nil
	}
}

// All lists the pods of this node that have not ended, in no order, also those
// without an address. The channel is that of ByIP.
func (v *View) All() ([]Found, <-chan struct{}) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	all := make([]Found, 0, len(v.pods))
	for _, e := range v.pods {
		all = append(all, v.found(e))
	}
	return all, v.changed
}

// Addresses lists the addresses that the pods of this node say they have, in no
// order. The channel is that of ByIP.
func (v *View) Addresses() ([]netip.Addr, <-chan struct{}) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	all := make([]netip.Addr, 0, len(v.pods))
	for _, e := range v.pods {
		all = append(all, e.addrs...)
	}
	return all, v.changed
}

// found is what there is to say of a pod, made anew when anything has changed.
// v.mu is held.
func (v *View) found(e *podEntry) Found {
	k := e.known.Load()
	if k == nil || k.generation != v.generation {
		k = &known{generation: v.generation, found: v.look(e)}
		e.known.Store(k)
	}
	return k.found
}

// look finds out what a pod may have. v.mu is held.
func (v *View) look(e *podEntry) Found {
	f := Found{Pod: e.pod, SecretsStore: e.secretsStore, Prefetch: e.prefetch}
	if !e.labelled {
		f.Pod.NamespaceBinding = v.annotated[f.Pod.Namespace]
	}
	f.Grants, f.Barred = v.grants(f.Pod)
	if x, ok := identity.Excepted(f.Pod, v.exceptions[f.Pod.Namespace], v.rules); ok {
		f.Exception = &x
	}
	return f
}

// grants computes what a pod is entitled to, and what a list keeps from it. v.mu is held.
func (v *View) grants(pod identity.Pod) ([]identity.Grant, []identity.Barred) {
	lookup := func(namespace, n string) (identity.Identity, bool) {
		id, ok := v.identities[name{namespace, n}]
		return id, ok
	}
	candidates := v.bySelector[pod.Selector]
	if pod.Selector == "" {
		candidates = nil
		if b, ok := v.bindings[name{pod.Namespace, pod.NamespaceBinding}]; ok {
			candidates = []identity.Binding{b}
		}
	}
	grants := identity.Match(pod, candidates, lookup, v.rules)
	for i := range grants {
		grants[i].Ready = v.ready(pod, grants[i].Identity)
	}
	return grants, identity.Bars(pod, candidates, lookup, v.rules)
}

// ready reports whether a token of id can be had on this node: by evidence for
// this very pod, and for the ids that the identity has now. Applications need
// not be brought to a node, and in managed mode others did so. v.mu is held.
func (v *View) ready(pod identity.Pod, id identity.Identity) bool {
	if v.managed || id.Type != v1.UserAssignedMSI {
		return true
	}
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
	v.wake()
}

// wake wakes everybody who waits. v.mu is held.
func (v *View) wake() {
	close(v.changed)
	v.changed = make(chan struct{})
}
