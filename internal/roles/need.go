package roles

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
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
		return []string{
			"Microsoft.ManagedIdentity/userAssignedIdentities/read",
			"Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",
		}
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
	// Identities are the AzureIdentities of type 0.
	Identities []Identity
}

// Identity is an AzureIdentity of type 0.
type Identity struct {
	// Name is its namespace and name, with a slash between them.
	Name string
	// ResourceID is the ARM id that it names.
	ResourceID string
}

// Need is a job on a scope: a resource group, or an identity.
type Need struct {
	Job Job
	// Scope is an ARM id, in the case in which it was written.
	Scope string
	// Why tells what of the cluster it is for.
	Why string
}

// Subscription is the one that the scope is in.
func (n Need) Subscription() string { return strings.Split(n.Scope, "/")[2] }

// Needs lists what mic needs, resource groups of nodes first. byGroup asks for
// the resource groups of identities in place of the identities. Refused tells of
// nodes and identities whose ids are none.
func Needs(c Cluster, byGroup bool) (needs []Need, refused []error) {
	needs, refused = machines(c.Nodes)
	names, scopes := map[string][]string{}, map[string]string{}
	for _, i := range c.Identities {
		if err := CheckIdentity(i.ResourceID); err != nil {
			refused = append(refused, fmt.Errorf("AzureIdentity %s: resourceID %q: %w", i.Name, i.ResourceID, err))
			continue
		}
		scope := i.ResourceID
		if byGroup {
			scope = strings.Join(strings.Split(scope, "/")[:5], "/")
		}
		key := strings.ToLower(scope)
		scopes[key] = cmp.Or(scopes[key], scope)
		names[key] = append(names[key], i.Name)
	}
	for _, key := range slices.Sorted(maps.Keys(names)) {
		slices.Sort(names[key])
		why := "AzureIdentity " + names[key][0]
		if more := len(names[key]) - 1; more > 0 {
			why += fmt.Sprintf(" and %d more", more)
		}
		needs = append(needs, Need{Job: Identities, Scope: scopes[key], Why: why})
	}
	return needs, refused
}

// machines are the needs for the resource groups of nodes.
func machines(nodes map[assign.Scope]int) (needs []Need, refused []error) {
	type group struct{ sets, vms, nodes int }
	groups := map[string]*group{}
	for _, scope := range slices.SortedFunc(maps.Keys(nodes), func(a, b assign.Scope) int { return cmp.Compare(a.ID(), b.ID()) }) {
		if err := checkNames(scope.Subscription, scope.ResourceGroup, scope.Name); err != nil {
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
		if scope.Kind == assign.VMSS {
			g.sets++
		} else {
			g.vms++
		}
	}
	for _, id := range slices.Sorted(maps.Keys(groups)) {
		g := groups[id]
		why := fmt.Sprintf("%s, in %s and %s", count(g.nodes, "node"), count(g.sets, "scale set"), count(g.vms, "VM"))
		switch {
		case g.vms == 0:
			why = fmt.Sprintf("%s, in %s", count(g.nodes, "node"), count(g.sets, "scale set"))
		case g.sets == 0:
			why = count(g.nodes, "node")
		}
		needs = append(needs, Need{Job: Machines, Scope: id, Why: why})
	}
	return needs, refused
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// segment is a part of an id. What else there may be in one, such as a question
// mark, would make a request for the id one for something else, or a line for a
// shell another.
var segment = regexp.MustCompile(`^[\p{L}\p{N}_().-]+$`)

var errNoIdentity = errors.New("want /subscriptions/S/resourceGroups/G/providers/Microsoft.ManagedIdentity/userAssignedIdentities/N")

// CheckIdentity asks for the ARM id of a user-assigned identity, and nothing else in it.
func CheckIdentity(id string) error {
	p := strings.Split(id, "/")
	if len(p) != 9 || p[0] != "" {
		return errNoIdentity
	}
	fixed := []string{p[1], p[3], p[5], p[6], p[7]}
	if !slices.EqualFunc(fixed, []string{"subscriptions", "resourceGroups", "providers", "Microsoft.ManagedIdentity", "userAssignedIdentities"}, strings.EqualFold) {
		return errNoIdentity
	}
	return checkNames(p[2], p[4], p[8])
}

func checkNames(names ...string) error {
	for _, s := range names {
		if !segment.MatchString(s) || s == "." || s == ".." {
			return fmt.Errorf("%q is no name in Azure", s)
		}
	}
	return nil
}
