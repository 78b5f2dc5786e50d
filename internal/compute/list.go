package compute

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"github.com/podid-io/podid/internal/assign"
)

// List reads all VMs, or all uniform scale sets, of a resource group in as few
// requests as Azure needs. The VMs of flexible scale sets are among the VMs. What is being
// changed is listed too: see State.Certain. Errors are *Error, whose Scope has no
// name.
func (c *Client) List(ctx context.Context, kind assign.Kind, subscription, resourceGroup string) (map[assign.Scope]State, error) {
	group := assign.Scope{Kind: kind, Subscription: subscription, ResourceGroup: resourceGroup}
	states := make(map[assign.Scope]State)
	var err error
	switch kind {
	case assign.VM:
		var client *armcompute.VirtualMachinesClient
		if client, err = c.vmsOf(subscription); err == nil {
			pager := client.NewListPager(resourceGroup, nil)
			err = listInto(ctx, c, pager, states, func(p armcompute.VirtualMachinesClientListResponse) []listed {
				return listedOf(p.Value, func(m *armcompute.VirtualMachine) listed { return listed{value(m.ID), stateOfVM(*m)} })
			})
		}
	case assign.VMSS:
		var client *armcompute.VirtualMachineScaleSetsClient
		if client, err = c.setsOf(subscription); err == nil {
			pager := client.NewListPager(resourceGroup, nil)
			err = listInto(ctx, c, pager, states, func(p armcompute.VirtualMachineScaleSetsClientListResponse) []listed {
				uniform := slices.DeleteFunc(p.Value, func(m *armcompute.VirtualMachineScaleSet) bool { return m != nil && flexible(*m) })
				return listedOf(uniform, func(m *armcompute.VirtualMachineScaleSet) listed { return listed{value(m.ID), stateOfSet(*m)} })
			})
		}
	default:
		err = errKind
	}
	if err != nil {
		return nil, classify(group, listing, err)
	}
	return states, nil
}

// listed is one VM or scale set of a list.
type listed struct {
	id    string
	state State
}

// listedOf leaves out what is null in a list.
func listedOf[T any](items []*T, read func(*T) listed) []listed {
	out := make([]listed, 0, len(items))
	for _, m := range slices.DeleteFunc(items, func(m *T) bool { return m == nil }) {
		out = append(out, read(m))
	}
	return out
}

// listInto reads page by page; each has GetTimeout.
func listInto[P any](ctx context.Context, c *Client, pager *runtime.Pager[P], states map[assign.Scope]State, read func(P) []listed) error {
	for pager.More() {
		page, err := timed(ctx, c.config.GetTimeout, pager.NextPage)
		if err != nil {
			return err
		}
		for _, l := range read(page) {
			scope, err := assign.ParseID(l.id)
			if err != nil {
				return fmt.Errorf("unexpected answer: %w", err)
			}
			if _, twice := states[scope]; twice {
				return errors.New("unexpected answer: " + scope.ID() + " is listed twice")
			}
			states[scope] = l.state
		}
	}
	return nil
}
