package compute

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"github.com/podid-io/podid/internal/assign"
)

// resource is a VM or scale set. patch sends the changes, all in one PATCH, and
// returns the state after them.
type resource interface {
	get(context.Context) (State, error)
	patch(context.Context, State, []change) (State, error)
}

// errKind is the error for scopes that are nodes outside Azure.
var errKind = errors.New("identities can be attached to virtual machines and scale sets only")

// errFlexible is the error for flexible scale sets. Their VMs have identities of
// their own, and what is attached to the scale set reaches none that is there.
var errFlexible = errors.New("its orchestration mode is Flexible, so that identities are attached to its virtual machines and not to it: " +
	"the spec.providerID of its nodes has to end with /providers/Microsoft.Compute/virtualMachines/NAME, and the cloud controller manager has to be one that knows flexible scale sets (Kubernetes 1.26 or later, outside kube-controller-manager)")

func (c *Client) resource(scope assign.Scope) (resource, error) {
	switch scope.Kind {
	case assign.VM:
		client, err := c.vmsOf(scope.Subscription)
		return vm{client, scope}, err
	case assign.VMSS:
		client, err := c.setsOf(scope.Subscription)
		return scaleSet{client, scope}, err
	default:
		return nil, errKind
	}
}

func (c *Client) vmsOf(subscription string) (*armcompute.VirtualMachinesClient, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	client := c.vms[subscription]
	if client == nil {
		var err error
		if client, err = armcompute.NewVirtualMachinesClient(subscription, nil, c.options); err != nil {
			return nil, err
		}
		c.vms[subscription] = client
	}
	return client, nil
}

func (c *Client) setsOf(subscription string) (*armcompute.VirtualMachineScaleSetsClient, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	client := c.sets[subscription]
	if client == nil {
		var err error
		if client, err = armcompute.NewVirtualMachineScaleSetsClient(subscription, nil, c.options); err != nil {
			return nil, err
		}
		c.sets[subscription] = client
	}
	return client, nil
}

type vm struct {
	client *armcompute.VirtualMachinesClient
	scope  assign.Scope
}

func (r vm) get(ctx context.Context) (State, error) {
	answer, err := r.client.Get(ctx, r.scope.ResourceGroup, r.scope.Name, nil)
	if err != nil {
		return State{}, err
	}
	return stateOfVM(answer.VirtualMachine), nil
}

func (r vm) patch(ctx context.Context, s State, changes []change) (State, error) {
	kind, ids := s.body(changes)
	ctx, left := departing(ctx)
	poller, err := r.client.BeginUpdate(once(ctx), r.scope.ResourceGroup, r.scope.Name,
		armcompute.VirtualMachineUpdate{Identity: &armcompute.VirtualMachineIdentity{Type: &kind, UserAssignedIdentities: ids}},
		&armcompute.VirtualMachinesClientBeginUpdateOptions{IfMatch: s.ifMatch()})
	if err != nil {
		return State{}, sent{err, *left}
	}
	answer, err := poller.PollUntilDone(patiently(ctx), pollOptions())
	if err != nil {
		return State{}, err
	}
	return stateOfVM(answer.VirtualMachine), nil
}

func stateOfVM(m armcompute.VirtualMachine) State {
	s := newState(nil, nil)
	if m.Identity != nil {
		s = newState(m.Identity.Type, m.Identity.UserAssignedIdentities)
	}
	s.ETag = value(m.Etag)
	if m.Properties != nil {
		s.ID = strings.ToLower(value(m.Properties.VMID))
		s.Provisioning = value(m.Properties.ProvisioningState)
	}
	return s
}

type scaleSet struct {
	client *armcompute.VirtualMachineScaleSetsClient
	scope  assign.Scope
}

func (r scaleSet) get(ctx context.Context) (State, error) {
	answer, err := r.client.Get(ctx, r.scope.ResourceGroup, r.scope.Name, nil)
	if err != nil {
		return State{}, err
	}
	if flexible(answer.VirtualMachineScaleSet) {
		return State{}, errFlexible
	}
	return stateOfSet(answer.VirtualMachineScaleSet), nil
}

func (r scaleSet) patch(ctx context.Context, s State, changes []change) (State, error) {
	kind, ids := s.body(changes)
	ctx, left := departing(ctx)
	poller, err := r.client.BeginUpdate(once(ctx), r.scope.ResourceGroup, r.scope.Name,
		armcompute.VirtualMachineScaleSetUpdate{Identity: &armcompute.VirtualMachineScaleSetIdentity{Type: &kind, UserAssignedIdentities: ids}},
		&armcompute.VirtualMachineScaleSetsClientBeginUpdateOptions{IfMatch: s.ifMatch()})
	if err != nil {
		return State{}, sent{err, *left}
	}
	answer, err := poller.PollUntilDone(patiently(ctx), pollOptions())
	if err != nil {
		return State{}, err
	}
	return stateOfSet(answer.VirtualMachineScaleSet), nil
}

func stateOfSet(m armcompute.VirtualMachineScaleSet) State {
	s := newState(nil, nil)
	if m.Identity != nil {
		s = newState(m.Identity.Type, m.Identity.UserAssignedIdentities)
	}
	s.ETag = value(m.Etag)
	if m.Properties != nil {
		s.ID = strings.ToLower(value(m.Properties.UniqueID))
		s.Provisioning = value(m.Properties.ProvisioningState)
	}
	return s
}

func flexible(m armcompute.VirtualMachineScaleSet) bool {
	return m.Properties != nil && m.Properties.OrchestrationMode != nil &&
		strings.EqualFold(string(*m.Properties.OrchestrationMode), string(armcompute.OrchestrationModeFlexible))
}

func newState(kind *armcompute.ResourceIdentityType, ids map[string]*armcompute.UserAssignedIdentitiesValue) State {
	s := State{User: make(map[string]bool, len(ids)), ClientIDs: make(map[string]string, len(ids))}
	if kind != nil {
		s.System = strings.Contains(strings.ToLower(string(*kind)), "systemassigned")
	}
	for id, v := range ids {
		id = strings.ToLower(id)
		s.User[id] = true
		if v != nil && value(v.ClientID) != "" {
			s.ClientIDs[id] = strings.ToLower(*v.ClientID)
		}
	}
	return s
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// another reports whether s is of another machine than the state before, one that was
// made anew: what is meant for one never goes to the other.
func (s State) another(before State) bool {
	return s.ID != "" && before.ID != "" && s.ID != before.ID
}

// ifMatch is nil where Azure gave no ETag.
func (s State) ifMatch() *string {
	if s.ETag == "" {
		return nil
	}
	return &s.ETag
}

// body is the identity of a PATCH that makes the changes and none else. The
// type is replaced, not merged, and says all that is to remain; the map is
// merged, and when no user-assigned identity remains there must be none.
func (s State) body(changes []change) (armcompute.ResourceIdentityType, map[string]*armcompute.UserAssignedIdentitiesValue) {
	after := maps.Clone(s.User)
	if after == nil {
		after = make(map[string]bool, len(changes))
	}
	ids := make(map[string]*armcompute.UserAssignedIdentitiesValue, len(changes))
	for _, c := range changes {
		if c.attach {
			after[c.id], ids[c.id] = true, &armcompute.UserAssignedIdentitiesValue{}
			continue
		}
		delete(after, c.id)
		ids[c.id] = nil
	}
	switch {
	case len(after) > 0 && s.System:
		return armcompute.ResourceIdentityTypeSystemAssignedUserAssigned, ids
	case len(after) > 0:
		return armcompute.ResourceIdentityTypeUserAssigned, ids
	case s.System:
		return armcompute.ResourceIdentityTypeSystemAssigned, nil
	default:
		return armcompute.ResourceIdentityTypeNone, nil
	}
}

// once lets a request be sent one time only: a PATCH that may have been carried
// out is not sent again without looking.
func once(ctx context.Context) context.Context {
	return policy.WithRetryOptions(ctx, policy.RetryOptions{MaxRetries: -1})
}

// patiently has the questions after an operation asked again, and wait where
// there were too many.
func patiently(ctx context.Context) context.Context {
	return policy.WithRetryOptions(context.WithValue(ctx, stubborn{}, true), policy.RetryOptions{MaxRetries: 5, StatusCodes: []int{
		http.StatusRequestTimeout, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
	}})
}

// pollOptions: Azure says how long to wait with Retry-After; this is for when it
// does not.
func pollOptions() *runtime.PollUntilDoneOptions {
	return &runtime.PollUntilDoneOptions{Frequency: 5 * time.Second}
}
