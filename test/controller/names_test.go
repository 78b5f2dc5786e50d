package controller_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/podid-io/podid/internal/azemu"
)

// names are the things that a story is about, by the names that Azure and the API
// server know them by.
type names struct {
	namespaces []string
	// identities, sets and vms are ARM ids. keeper is an identity that nobody in the
	// cluster knows of, immutable one that is never to be taken off.
	identities, sets, vms []string
	keeper, immutable     string
	machines              []string // sets and vms, in lower case
	nodes, pods, defined  []string
	selectors, pools      []string
	quiet                 string // where nothing happens
}

// worlds counts them: names of things that are not Azure's are used once.
var worlds atomic.Int64

func newNames(r *rand.Rand) names {
	n := names{
		defined: []string{"blue", "green"}, selectors: []string{"one", "two"}, pools: []string{"apps", "batch"},
		pods: []string{"web-0", "web-1", "job-0", "job-1"},
	}
	world := worlds.Add(1)
	n.quiet = fmt.Sprintf("w%d-quiet", world)
	for i := range 3 {
		n.namespaces = append(n.namespaces, fmt.Sprintf("w%d-team-%d", world, i))
	}
	for i := range 8 {
		n.nodes = append(n.nodes, fmt.Sprintf("w%d-node-%d", world, i))
	}
	groups := []string{"MC_one", "mc_Two"}
	subscriptions := []string{"11111111-1111-1111-1111-111111111111", "AAAAAAAA-2222-2222-2222-22222222222B"}
	for i := range 6 {
		n.identities = append(n.identities, fmt.Sprintf("/subscriptions/%s/resourceGroups/Apps/providers/Microsoft.ManagedIdentity/userAssignedIdentities/Id-%d", subscriptions[0], i))
	}
	n.immutable = n.identities[5]
	n.keeper = strings.Replace(n.identities[0], "Id-0", "Keeper", 1)
	for i := range 3 {
		group := fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Compute", subscriptions[i%2], groups[r.IntN(2)])
		n.sets = append(n.sets, fmt.Sprintf("%s/virtualMachineScaleSets/Pool-%d", group, i))
		n.vms = append(n.vms, fmt.Sprintf("%s/virtualMachines/VM-%d", group, i))
	}
	for _, id := range slices.Concat(n.sets, n.vms) {
		n.machines = append(n.machines, strings.ToLower(id))
	}
	return n
}

// state is the Azure that a story begins with. Some machines have identities of
// their own.
func (n names) state() azemu.State {
	var s azemu.State
	for _, id := range append(slices.Clone(n.identities), n.keeper) {
		s.Identities = append(s.Identities, azemu.Identity{ID: id})
	}
	for i, id := range n.sets {
		set := azemu.ScaleSet{ID: id, Instances: []azemu.Instance{{InstanceID: "0", Name: fmt.Sprintf("pool-%d-000000", i)}}}
		if i == 0 {
			set.Identity = &azemu.Assigned{Type: "SystemAssigned"}
		}
		s.ScaleSets = append(s.ScaleSets, set)
	}
	for i, id := range n.vms {
		vm := azemu.VM{ID: id}
		if i == 0 {
			vm.Identity = &azemu.Assigned{Type: "SystemAssigned"}
		}
		s.VMs = append(s.VMs, vm)
	}
	return s
}

// providerID is that of a node on a machine, in the case that somebody chose.
func (n names) providerID(r *rand.Rand, machine string) string {
	for _, id := range slices.Concat(n.sets, n.vms) {
		if strings.ToLower(id) != machine {
			continue
		}
		if strings.Contains(machine, "/virtualmachinescalesets/") {
			id += fmt.Sprintf("/virtualMachines/%d", r.IntN(20))
		}
		return "azure://" + anyCase(r, id)
	}
	return ""
}

// anyCase is an id as people and clouds write it.
func anyCase(r *rand.Rand, id string) string {
	switch r.IntN(4) {
	case 0:
		return strings.ToLower(id)
	case 1:
		return strings.ToUpper(id)
	default:
		return id
	}
}
