package roles

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/podid-io/podid/internal/assign"
)

// Job is what mic needs a role for.
type Job string

// The jobs.
const (
	// Machines is to read and change VMs and scale sets, on their resource groups.
	Machines Job = "machines"
	// Identities is to attach user-assigned identities to them.
	Identities Job = "identities"
)

// Actions are those that mic needs for a job.
func (j Job) Actions() []string {
	switch j {
	case Machines:
		return []string{
			"Microsoft.Compute/virtualMachines/read",
			"Microsoft.Compute/virtualMachines/write",
			"Microsoft.Compute/virtualMachineScaleSets/read",
			"Microsoft.Compute/virtualMachineScaleSets/write",
			"Microsoft.Compute/locations/operations/read",
		}
	case Identities:
		return []string{"Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"}
	default:
		return nil
	}
}

// BuiltIn is the role of Azure's own for a job, and its id.
func (j Job) BuiltIn() (name, id string) {
	switch j {
	case Machines:
		return "Virtual Machine Contributor", "9980e02c-c2be-4d73-94e8-173b1dc7cf3c"
	case Identities:
		return "Managed Identity Operator", "f1a07417-d97a-45cb-824c-7a7467783830"
	default:
		return "", ""
	}
}

// Custom is the name of the role that has the actions of a job and no others, in
// a subscription. It names the subscription: a tenant has one role of a name.
func (j Job) Custom(subscription string) string {
	return "podid mic " + string(j) + " " + subscription
}

// Cluster is what is known of a cluster.
type Cluster struct {
	// Nodes counts the nodes of each VM and scale set.
	Nodes map[assign.Scope]int
	// Identities are the AzureIdentities that name somebody, of applications too.
	Identities []Identity
}

// Identity is an AzureIdentity: of a managed identity, or of an application by its
// client id alone.
type Identity struct {
	// Name is its namespace and name, with a slash between them.
	Name string
	// ResourceID is the ARM id that it names. Without one mic attaches nothing, and
	// needs no role for it.
	ResourceID string
	// ClientID is the client id that it names. It needs nothing; it may be mic's own.
	ClientID string
}

// Need is a job on a scope: a resource group, or an identity.
type Need struct {
	Job Job
	// Scope is an ARM id, in the case in which it was written.
	Scope string
	// Why tells what of the cluster it is for.
	Why string
	// Of are the ARM ids of the machines or identities that it is for.
	Of []string
	// Unusual says that nodes are in other resource groups too, and nobody has named
	// this one. A node says itself where it is: see Expect.
	Unusual bool
}

// Subscription is the one that the scope is in.
func (n Need) Subscription() string { return strings.Split(n.Scope, "/")[2] }

// OnGroup reports whether the scope is a resource group.
func (n Need) OnGroup() bool { return strings.Count(n.Scope, "/") == 4 }

// Needs lists what mic needs, resource groups of nodes first. byGroup asks for
// the resource groups of identities in place of the identities. Refused tells of
// nodes and identities whose ids are none.
func Needs(c Cluster, byGroup bool) (needs []Need, refused []error) {
	needs, refused = machines(c.Nodes)
	names, found := map[string][]string{}, map[string]*Need{}
	for _, i := range c.Identities {
		if i.ResourceID == "" && i.ClientID != "" {
			continue
		}
		if err := CheckIdentity(i.ResourceID); err != nil {
			refused = append(refused, fmt.Errorf("AzureIdentity %s: resourceID %q: %w", i.Name, i.ResourceID, err))
			continue
		}
		scope := i.ResourceID
		if byGroup {
			scope = strings.Join(strings.Split(scope, "/")[:5], "/")
		}
		key := strings.ToLower(scope)
		if found[key] == nil {
			found[key] = &Need{Job: Identities, Scope: scope}
		}
		n := found[key]
		if !slices.ContainsFunc(n.Of, func(id string) bool { return strings.EqualFold(id, i.ResourceID) }) {
			n.Of = append(n.Of, i.ResourceID)
		}
		names[key] = append(names[key], i.Name)
	}
	for _, key := range slices.Sorted(maps.Keys(names)) {
		slices.Sort(names[key])
		why := "AzureIdentity " + names[key][0]
		if more := len(names[key]) - 1; more > 0 {
			why += fmt.Sprintf(" and %d more", more)
		}
		found[key].Why = why
		needs = append(needs, *found[key])
	}
	return needs, refused
}

// group is what is known of the nodes of a resource group.
type group struct {
	sets, vms, nodes int
	machines         []string
}

// machines are the needs for the resource groups of nodes. Where there are several,
// all are unusual. It does not matter which has the most nodes: Nodes can be made up
// by the dozen, and those that say they are the same machine too.
func machines(nodes map[assign.Scope]int) (needs []Need, refused []error) {
	groups := map[string]*group{}
	for _, scope := range slices.SortedFunc(maps.Keys(nodes), func(a, b assign.Scope) int { return cmp.Compare(a.ID(), b.ID()) }) {
		if err := CheckMachine(scope); err != nil {
			refused = append(refused, fmt.Errorf("%s of %s: %w", count(nodes[scope], "node"), strconv.Quote(scope.ID()), err))
			continue
		}
		id := "/subscriptions/" + scope.Subscription + "/resourceGroups/" + scope.ResourceGroup
		g := groups[id]
		if g == nil {
			g = &group{}
			groups[id] = g
		}
		g.nodes += nodes[scope]
		g.machines = append(g.machines, scope.ID())
		if scope.Kind == assign.VMSS {
			g.sets++
		} else {
			g.vms++
		}
	}
	for _, id := range slices.Sorted(maps.Keys(groups)) {
		g := groups[id]
		needs = append(needs, Need{Job: Machines, Scope: id, Why: g.String(), Of: g.machines, Unusual: len(groups) > 1})
	}
	return needs, refused
}

func (g *group) String() string {
	switch {
	case g.vms == 0:
		return fmt.Sprintf("%s, in %s", count(g.nodes, "node"), count(g.sets, "scale set"))
	case g.sets == 0:
		return count(g.nodes, "node")
	default:
		return fmt.Sprintf("%s, in %s and %s", count(g.nodes, "node"), count(g.sets, "scale set"), count(g.vms, "VM"))
	}
}

// Expect makes the resource groups of nodes that are named usual: each by its name,
// or by its ARM id where nodes are in several of the name, in any case.
func Expect(needs []Need, groups []string) error {
	for _, name := range groups {
		var found []int
		for i, n := range needs {
			if n.Job == Machines && (strings.EqualFold(n.Scope, name) || strings.EqualFold(n.Scope[strings.LastIndex(n.Scope, "/")+1:], name)) {
				found = append(found, i)
			}
		}
		switch len(found) {
		case 0:
			return fmt.Errorf("no node is in the resource group %q", name)
		case 1:
			needs[found[0]].Unusual = false
		default:
			return fmt.Errorf("nodes are in several resource groups named %q: write the ARM id, such as %s", name, needs[found[0]].Scope)
		}
	}
	return nil
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
