package model

import "cmp"

// Object is an AzureAssignedIdentity.
type Object struct {
	Pod          Name
	PodUID, Node string
	Identity     Identity
	Binding      Name
	BindingUID   string
	Selector     string
	Machine      string
	Assigned     bool
}

// Pair is what there is at most one object for.
type Pair struct{ Pod, Identity Name }

// Wanted is an object as it should be.
type Wanted struct {
	Object

	// Lost says that the node is gone: what was known of it may be, or not.
	Lost bool
	// Waits says that Azure does not attach the identity. One that was granted before
	// may stand until then.
	Waits bool
}

// Need says how sure it is that an identity has to be on a machine.
type Need int

// The values of Need.
const (
	// None is for what has no business there.
	None Need = iota
	// Maybe is for what may be there, or not.
	Maybe
	// Sure is for what has to be there.
	Sure
)

// Want is what has to become of a cluster.
type Want struct {
	Objects map[Pair]Wanted
	// Needs are by machine and identity.
	Needs map[string]map[string]Need
	// Why are the reasons of those that are sure: a pod or a node, a binding and an
	// identity that together say so.
	Why map[Place]map[Reason]bool
}

// Place is an identity on a machine.
type Place struct{ Machine, Identity string }

// Reason is why an identity has to be somewhere.
type Reason struct {
	Pod, Node string // one of the two: the uid of a pod, or the name of a node
	Binding   string // uid
	Identity  string // uid
}

// Want says what has to become of it.
func (c Cluster) Want() Want {
	w := Want{Objects: map[Pair]Wanted{}, Needs: map[string]map[string]Need{}, Why: map[Place]map[Reason]bool{}}
	for _, p := range c.Pods {
		if p.Ended || p.Node == "" {
			continue
		}
		for _, b := range c.bindings(p) {
			c.grant(&w, p, b)
		}
	}
	for _, b := range c.Bindings {
		id, ok := c.Identities[Name{b.Namespace, b.Identity}]
		if !b.Advance || !ok {
			continue
		}
		for name, n := range c.Nodes {
			if !n.Gone && (b.Pool == "" || b.Pool == n.Pool) {
				w.because(n.Machine, id.Resource, Reason{Node: name, Binding: b.UID, Identity: id.UID})
			}
		}
	}
	return w
}

// bindings are those of a pod: by its label, else by its namespace's annotation.
func (c Cluster) bindings(p Pod) (of []Binding) {
	for _, b := range c.Bindings {
		switch {
		case b.Namespace != p.Namespace:
		case p.Labelled && p.Label != "" && b.Selector == p.Label, !p.Labelled && c.Speaks[p.Namespace] == b.Name.Name:
			of = append(of, b)
		}
	}
	return of
}

// grant adds the object of a pod and a binding, unless another binding has it.
func (c Cluster) grant(w *Want, p Pod, b Binding) {
	id, ok := c.Identities[Name{b.Namespace, b.Identity}]
	if !ok {
		return
	}
	n := c.Nodes[p.Node]
	if n.Gone && p.Shown[id.Resource] != n.Machine {
		w.need(n.Machine, id.Resource, Maybe)
	} else {
		w.because(n.Machine, id.Resource, Reason{Pod: p.UID, Binding: b.UID, Identity: id.UID})
	}
	pair := Pair{p.Name, id.Name}
	if other, ok := w.Objects[pair]; ok && !c.before(b, c.Bindings[other.Binding]) {
		return
	}
	waits := id.Resource != "" && (n.Machine == "" || !c.Usable[id.Resource])
	w.Objects[pair] = Wanted{
		Object: Object{
			Pod: p.Name, PodUID: p.UID, Node: p.Node, Identity: id,
			Binding: b.Name, BindingUID: b.UID, Selector: b.Selector, Machine: n.Machine, Assigned: !waits,
		},
		Lost: n.Gone, Waits: waits,
	}
}

// before is the order in which bindings of a namespace count.
func (c Cluster) before(x, y Binding) bool {
	return cmp.Or(cmp.Compare(y.Weight, x.Weight), cmp.Compare(x.Name.Name, y.Name.Name)) < 0
}

// because adds a need that is sure.
func (w *Want) because(machine, id string, r Reason) {
	w.need(machine, id, Sure)
	place := Place{machine, id}
	if w.Why[place] == nil {
		w.Why[place] = map[Reason]bool{}
	}
	w.Why[place][r] = true
}

func (w *Want) need(machine, id string, n Need) {
	if machine == "" || id == "" {
		return
	}
	if w.Needs[machine] == nil {
		w.Needs[machine] = map[string]Need{}
	}
	w.Needs[machine][id] = max(w.Needs[machine][id], n)
}
