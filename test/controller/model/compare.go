package model

import (
	"fmt"
	"slices"
)

// Owner is who put an identity on a machine.
type Owner int

// The values of Owner. The zero value is podid.
const (
	Podid Owner = iota
	// Others put it there, and nobody but they may take it off.
	Others
	// Either of the two, which is for cases in which nobody can tell.
	Either
)

// Machine is a VM or scale set as it is.
type Machine struct {
	// System says that it has a system-assigned identity.
	System bool
	// Has are the user-assigned identities, and who put each there.
	Has map[string]Owner
}

// Is is what has become of a cluster.
type Is struct {
	Objects  []Object
	Machines map[string]Machine
	// Before is what machines had before podid: what of it others still want.
	Before map[string]Machine
}

// Differences are where it is not as it should be, in order.
func (c Cluster) Differences(is Is) []string {
	w := c.Want()
	var out []string
	seen := map[Pair]bool{}
	for _, o := range is.Objects {
		pair := Pair{o.Pod, o.Identity.Name}
		if seen[pair] {
			out = append(out, fmt.Sprintf("two objects for pod %s and identity %s", o.Pod, o.Identity.Name))
		}
		seen[pair] = true
		want, ok := w.Objects[pair]
		if !ok {
			out = append(out, fmt.Sprintf("an object for pod %s and identity %s, for which there is no reason", o.Pod, o.Identity.Name))
			continue
		}
		if !want.allows(o, is, &w) {
			out = append(out, fmt.Sprintf("pod %s has\n    %+v, wanted\n    %+v", o.Pod, o, want))
		}
	}
	for pair := range w.Objects {
		if !seen[pair] {
			out = append(out, fmt.Sprintf("no object for pod %s and identity %s", pair.Pod, pair.Identity))
		}
	}
	for id, m := range is.Machines {
		out = append(out, c.machine(id, m, is.Before[id], w.Needs[id])...)
	}
	slices.Sort(out)
	return out
}

// allows reports whether an object is as it should be. What stands from before is
// needed on its machine.
func (w Wanted) allows(o Object, is Is, all *Want) bool {
	if _, there := is.Machines[w.Machine].Has[w.Identity.Resource]; there {
		w.Waits, w.Assigned = false, true // Azure attaches it no more, and has it attached
	}
	switch {
	case o.Pod != w.Pod || o.PodUID != w.PodUID || o.Node != w.Node:
		return false
	case o == w.Object:
		return true
	case w.Waits && o.Assigned && o.Identity.Resource != w.Identity.Resource: // stands
		all.need(o.Machine, o.Identity.Resource, Maybe)
		_, there := is.Machines[o.Machine].Has[o.Identity.Resource]
		return there || o.Identity.Resource == ""
	case w.Lost:
		o.Assigned, o.Machine = w.Assigned, w.Machine
		return o == w.Object
	default:
		return false
	}
}

// machine compares what a machine has with what it needs.
func (c Cluster) machine(id string, m, before Machine, needs map[string]Need) (out []string) {
	if m.System != before.System {
		out = append(out, fmt.Sprintf("%s: system-assigned identity: %t, wanted %t", id, m.System, before.System))
	}
	for identity, need := range needs {
		if _, has := m.Has[identity]; need == Sure && c.Usable[identity] && !has {
			out = append(out, fmt.Sprintf("%s lacks %s", id, identity))
		}
	}
	for identity := range m.Has {
		_, theirs := before.Has[identity]
		if needs[identity] == None && !theirs && !c.Immutable[identity] {
			out = append(out, fmt.Sprintf("%s has %s, which nobody needs", id, identity))
		}
	}
	for identity, owner := range before.Has {
		if _, has := m.Has[identity]; owner == Others && !has {
			out = append(out, fmt.Sprintf("%s lacks %s, which others put there", id, identity))
		}
	}
	return out
}
