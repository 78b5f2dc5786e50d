// Package model says what has to become of a cluster: which pods have which
// identities, and what has to be attached to which machine of Azure. It shares no
// code with the controller that it judges, so that it can disagree.
package model

import (
	"fmt"
	"maps"
	"strings"
)

// Name is the namespace and the name of an object.
type Name struct{ Namespace, Name string }

func (n Name) String() string { return n.Namespace + "/" + n.Name }

// Pod is a pod.
type Pod struct {
	Name

	UID, Node string
	// Labelled says that it has the label that names a selector, Label what it says.
	Labelled bool
	Label    string
	// Ended says that it has succeeded or failed.
	Ended bool
	// Shown are the identities that it was shown to have, each with the machine, when
	// all was as it should be for the last time.
	Shown map[string]string
}

// Binding is an AzureIdentityBinding.
type Binding struct {
	Name

	UID                string
	Identity, Selector string
	Weight             int
	// Advance says that its identity is to be on the machines of all nodes of Pool
	// before any pod; of all nodes where that is empty.
	Advance bool
	Pool    string
}

// Identity is an AzureIdentity.
type Identity struct {
	Name

	UID string
	// Resource is the ARM id, in lower case; empty for one that is not attached.
	Resource, Client string
}

func (i Identity) String() string {
	return fmt.Sprintf("%s (%q, client %s, uid %s)", i.Name, i.Resource[strings.LastIndex(i.Resource, "/")+1:], i.Client, i.UID)
}

// Node is a node, or one that has been.
type Node struct {
	// Machine is the VM or scale set, in lower case; empty for none of Azure's.
	Machine, Pool string
	// Outside says that it never will be one of Azure's.
	Outside bool
	// Gone says that there is no Node object any more.
	Gone bool
	// Known says that all was as it should be since it came.
	Known bool
}

// Cluster is what people have made of a cluster, and of Azure.
type Cluster struct {
	Pods       map[Name]Pod
	Bindings   map[Name]Binding
	Identities map[Name]Identity
	Nodes      map[string]Node
	// Speaks are the names of bindings in the annotations of namespaces.
	Speaks map[string]string
	// Usable are the identities that Azure attaches: they exist and may be assigned.
	Usable map[string]bool
	// Immutable are those that are never to be taken off.
	Immutable map[string]bool
}

// New makes an empty one.
func New() Cluster {
	return Cluster{
		Pods: map[Name]Pod{}, Bindings: map[Name]Binding{}, Identities: map[Name]Identity{},
		Nodes: map[string]Node{}, Speaks: map[string]string{}, Usable: map[string]bool{}, Immutable: map[string]bool{},
	}
}

// Clone is a copy whose maps are its own.
func (c Cluster) Clone() Cluster {
	return Cluster{
		Pods: maps.Clone(c.Pods), Bindings: maps.Clone(c.Bindings), Identities: maps.Clone(c.Identities),
		Nodes: maps.Clone(c.Nodes), Speaks: maps.Clone(c.Speaks), Usable: maps.Clone(c.Usable), Immutable: maps.Clone(c.Immutable),
	}
}

// Forget has pods of nodes that are gone forget what they had and have no reason
// for any more. What they get from then on is less sure: see Want.
func (c Cluster) Forget(w Want) {
	has := map[Name]map[string]bool{}
	for pair, o := range w.Objects {
		if has[pair.Pod] == nil {
			has[pair.Pod] = map[string]bool{}
		}
		has[pair.Pod][o.Identity.Resource] = true
	}
	for name, p := range c.Pods {
		if c.Nodes[p.Node].Gone {
			p.Shown = maps.Clone(p.Shown)
			maps.DeleteFunc(p.Shown, func(id, _ string) bool { return !has[name][id] })
			c.Pods[name] = p
		}
	}
}
