package assign

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Kind is the resource type of a Scope, as a segment of its ARM id.
type Kind string

// The kinds of Scope.
const (
	VM   Kind = "virtualmachines"
	VMSS Kind = "virtualmachinescalesets"
)

// Scope is the Azure resource that the identities of a node are attached to: a
// uniform scale set, or a VM that belongs to none or to a flexible one. All of it is in lower case, so that
// two scopes are the same resource exactly when they are equal. The zero value
// stands for all nodes that Azure does not know.
type Scope struct {
	Kind                              Kind
	Subscription, ResourceGroup, Name string
}

// ErrNoProviderID is the error of ParseProviderID for a node without one.
var ErrNoProviderID = errors.New("the node has no providerID")

// ParseProviderID finds the scope of a node from its spec.providerID, in any
// case. It does not ask whether the scale set is uniform:
//
//	azure:///subscriptions/S/resourceGroups/G/providers/Microsoft.Compute/virtualMachines/NAME
//	azure:///subscriptions/S/resourceGroups/G/providers/Microsoft.Compute/virtualMachineScaleSets/NAME/virtualMachines/N
//
// The error is ErrNoProviderID for an empty one, else it shows what it is.
func ParseProviderID(id string) (Scope, error) {
	if id == "" {
		return Scope{}, ErrNoProviderID
	}
	path, ok := strings.CutPrefix(strings.ToLower(id), "azure://")
	if !ok {
		return Scope{}, fmt.Errorf("providerID %q is not one of Azure", id)
	}
	path = strings.Trim(path, "/")
	if s, instance, ok := parsePath(path); ok && instance == (s.Kind == VMSS) {
		return s, nil
	}
	return Scope{}, fmt.Errorf("providerID %q names neither a virtual machine nor an instance of a scale set", id)
}

// ParseID is the reverse of Scope.ID.
func ParseID(id string) (Scope, error) {
	path, rooted := strings.CutPrefix(strings.ToLower(id), "/")
	if s, _, ok := parsePath(path); rooted && ok && s.ID() == strings.ToLower(id) {
		return s, nil
	}
	return Scope{}, fmt.Errorf("%q is not the id of a virtual machine or a scale set", id)
}

// parsePath reads an id in lower case and without slashes around it. instance says
// that it is of one machine of a scale set.
func parsePath(path string) (s Scope, instance, ok bool) {
	p := strings.Split(path, "/")
	if slices.Contains(p, "") || len(p) != 8 && len(p) != 10 {
		return Scope{}, false, false
	}
	fixed := []string{p[0], p[2], p[4], p[5]}
	if !slices.Equal(fixed, []string{"subscriptions", "resourcegroups", "providers", "microsoft.compute"}) {
		return Scope{}, false, false
	}
	s = Scope{Kind: Kind(p[6]), Subscription: p[1], ResourceGroup: p[3], Name: p[7]}
	if len(p) == 10 {
		return s, true, s.Kind == VMSS && p[8] == string(VM)
	}
	return s, false, s.Kind == VM || s.Kind == VMSS
}

// ID is the ARM id of the scope, in lower case; "" for the zero value.
func (s Scope) ID() string {
	if s == (Scope{}) {
		return ""
	}
	return "/subscriptions/" + s.Subscription + "/resourcegroups/" + s.ResourceGroup + "/providers/microsoft.compute/" + string(s.Kind) + "/" + s.Name
}

// String is the scope as people read it.
func (s Scope) String() string {
	switch s.Kind {
	case VM:
		return fmt.Sprintf("virtual machine %s/%s", s.ResourceGroup, s.Name)
	case VMSS:
		return fmt.Sprintf("scale set %s/%s", s.ResourceGroup, s.Name)
	default:
		return "nodes outside Azure"
	}
}
