// Package model knows which pod may have which token, and when it must. It is
// what the churn test holds the agent against, so it shares no code with the
// agent: it is written from the documentation alone and imports the standard
// library alone, which a test sees to.
package model

import (
	"net/netip"
	"time"
)

// Key names an object.
type Key struct{ Namespace, Name string }

// Pod is a pod as its object tells of it.
type Pod struct {
	Key
	UID     string
	Created time.Time
	// Selector is the label aadpodidbinding; HasSelector tells an empty one from
	// none.
	Selector    string
	HasSelector bool
	// App is the label app, by which exceptions go; empty for none.
	App string
	// Addr and Second are the addresses, the zero value until the pod has a
	// network. Second is of the other family; pods of one family have none.
	Addr, Second netip.Addr
	// Ready and Started are when the network was ready and when the container
	// that runs was started, in Unix seconds; 0 for neither.
	Ready, Started int64
	// Pending is a pod whose containers do not run yet, Ending one that is being
	// deleted, Ended one that is over, HostNetwork one without a network of its own.
	Pending, Ending, Ended, HostNetwork bool
}

// Evidence is the newest sign that the pod has the network it tells of.
func (p *Pod) Evidence() int64 { return max(p.Ready, p.Started) }

// Identity is an AzureIdentity.
type Identity struct {
	Key
	ClientID, ResourceID string
}

// Binding is an AzureIdentityBinding.
type Binding struct {
	Key
	Identity, Selector string
	Weight             int
}

// Assigned is an AzureAssignedIdentity: the identity, as it was then, is on the
// node for the pod.
type Assigned struct {
	Key
	PodName, PodUID      string
	Identity             Key
	ClientID, ResourceID string
	Usable               bool
}

// Exception is an AzurePodIdentityException for pods with a label app.
type Exception struct {
	Key
	App string
}

// Namespace is a namespace, and the binding that its annotation names.
type Namespace struct{ Name, Binding string }

// Objects is what an API server holds, or what it has told somebody.
type Objects struct {
	Pods       map[Key]Pod
	Identities map[Key]Identity
	Bindings   map[Key]Binding
	Assigned   map[Key]Assigned
	Exceptions map[Key]Exception
	Namespaces map[Key]Namespace
	// Managed says that the identities are on the node already: what is assigned
	// is of no interest.
	Managed bool
}

// NewObjects is an empty API server.
func NewObjects() *Objects {
	return &Objects{
		Pods: map[Key]Pod{}, Identities: map[Key]Identity{}, Bindings: map[Key]Binding{},
		Assigned: map[Key]Assigned{}, Exceptions: map[Key]Exception{}, Namespaces: map[Key]Namespace{},
	}
}
