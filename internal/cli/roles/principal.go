package roles

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"
	"github.com/google/uuid"

	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/roles"
)

// principal is who mic is in Azure.
type principal struct {
	ID string `json:"principalId"`
	// Identity is the resource that has the identity, where that is known.
	Identity string `json:"identity,omitempty"`

	clientID string // empty where it is not known
}

// principals finds out who mic is. It is several where mic uses the identity of
// the machine that it happens to run on.
func (az *azure) principals(ctx context.Context, r *report, who whose, c roles.Cluster) ([]principal, error) {
	switch {
	case who.principalID != "":
		return []principal{{ID: strings.ToLower(who.principalID), clientID: who.clientID}}, nil
	case who.identity != "":
		p, err := az.userAssigned(ctx, who.identity)
		return []principal{p}, err
	default:
		return az.ofMachines(ctx, r, who, c)
	}
}

func (az *azure) userAssigned(ctx context.Context, id string) (principal, error) {
	r, err := arm.ParseResourceID(id)
	if err != nil {
		return principal{}, fmt.Errorf("%s: %w", id, err)
	}
	client, err := armmsi.NewUserAssignedIdentitiesClient(r.SubscriptionID, az.credential, az.options)
	if err != nil {
		return principal{}, err
	}
	answer, err := client.Get(ctx, r.ResourceGroupName, r.Name, nil)
	if err != nil {
		return principal{}, fmt.Errorf("read the identity %s: %w", id, plain(err))
	}
	if answer.Properties == nil || !isGUID(value(answer.Properties.PrincipalID)) {
		return principal{}, fmt.Errorf("the identity %s shows no object id: give --principal-id", id)
	}
	return principal{ID: *answer.Properties.PrincipalID, Identity: id, clientID: value(answer.Properties.ClientID)}, nil
}

// ofMachines reads the identities of VMs and scale sets. A machine that cannot be
// read is told and left out: a Node outlives its machine, and whoever made it may
// have made it up.
func (az *azure) ofMachines(ctx context.Context, r *report, who whose, c roles.Cluster) ([]principal, error) {
	found := map[string]principal{}
	var last error
	scopes := slices.SortedFunc(maps.Keys(c.Nodes), func(a, b assign.Scope) int { return cmp.Compare(a.ID(), b.ID()) })
	for _, scope := range scopes {
		if roles.CheckMachine(scope) != nil {
			continue // which is told with the needs
		}
		has, err := az.identitiesOf(ctx, scope)
		if err != nil {
			r.leaveOut(fmt.Sprintf("%s: read its identities: %s", scope, plain(err)))
			last = err
			continue
		}
		p, ok := has.used(who.clientID)
		switch {
		case ok:
			found[p.ID] = p
		case who.clientID == "" && has.none(): // a Node may name any machine
			last = fmt.Errorf("%s has no identity with an object id", scope)
			r.leaveOut(last.Error())
		case who.clientID == "":
			return nil, fmt.Errorf("%s has neither a system-assigned identity nor one single user-assigned one with an object id: set userAssignedIdentityID in azure.json, or give --principal-id", scope)
		}
		if ok && who.clientID != "" {
			break
		}
	}
	r.unsure = last != nil && who.clientID == ""
	switch {
	case len(found) > 0:
		return slices.SortedFunc(maps.Values(found), func(a, b principal) int { return cmp.Compare(a.Identity, b.Identity) }), nil
	case last != nil:
		return nil, fmt.Errorf("no machine shows who mic is, and not all could be read: %w; give --identity-resource-id or --principal-id", plain(last))
	default:
		return nil, fmt.Errorf("no machine of this cluster shows the identity with client id %s that azure.json names: give --identity-resource-id or --principal-id", who.clientID)
	}
}

// there asks for one at least of what a need is for: what does not exist is no
// reason to let mic do something to its resource group.
func (az *azure) there(ctx context.Context, n roles.Need) error {
	err := errNotThere
	for _, id := range n.Of {
		var one error
		if n.Job == roles.Identities {
			_, one = az.userAssigned(ctx, id)
		} else if scope, parseErr := assign.ParseID(id); parseErr == nil {
			_, one = az.identitiesOf(ctx, scope)
		}
		switch {
		case one == nil:
			return nil
		case !gone(one):
			err = plain(one)
		}
	}
	return err
}

var errNotThere = errors.New("nothing of that exists in Azure")

// machine is the identities of a VM or scale set.
type machine struct {
	system principal
	user   map[string]principal // by client id in lower case
}

// used is the identity that a process on the machine uses with a client id, or
// without one.
func (m machine) used(clientID string) (principal, bool) {
	if clientID != "" {
		p, ok := m.user[strings.ToLower(clientID)]
		return p, ok
	}
	if m.system.ID != "" {
		return m.system, true
	}
	for _, p := range m.user {
		return p, len(m.user) == 1
	}
	return principal{}, false
}

// none says that it shows no identity at all.
func (m machine) none() bool { return m.system.ID == "" && len(m.user) == 0 }

func (az *azure) identitiesOf(ctx context.Context, scope assign.Scope) (machine, error) {
	switch scope.Kind {
	case assign.VM:
		client, err := armcompute.NewVirtualMachinesClient(scope.Subscription, az.credential, az.options)
		if err != nil {
			return machine{}, err
		}
		answer, err := client.Get(ctx, scope.ResourceGroup, scope.Name, nil)
		if err != nil || answer.Identity == nil {
			return machine{}, err
		}
		return newMachine(scope, answer.Identity.PrincipalID, answer.Identity.UserAssignedIdentities), nil
	case assign.VMSS:
		client, err := armcompute.NewVirtualMachineScaleSetsClient(scope.Subscription, az.credential, az.options)
		if err != nil {
			return machine{}, err
		}
		answer, err := client.Get(ctx, scope.ResourceGroup, scope.Name, nil)
		if err != nil || answer.Identity == nil {
			return machine{}, err
		}
		return newMachine(scope, answer.Identity.PrincipalID, answer.Identity.UserAssignedIdentities), nil
	default:
		return machine{}, errors.New("neither a virtual machine nor a scale set")
	}
}

func newMachine(scope assign.Scope, system *string, user map[string]*armcompute.UserAssignedIdentitiesValue) machine {
	m := machine{user: make(map[string]principal, len(user))}
	if isGUID(value(system)) {
		m.system = principal{ID: *system, Identity: scope.ID()}
	}
	for id, v := range user {
		if v != nil && isGUID(value(v.PrincipalID)) {
			m.user[strings.ToLower(value(v.ClientID))] = principal{ID: *v.PrincipalID, Identity: id, clientID: value(v.ClientID)}
		}
	}
	return m
}

func isGUID(s string) bool { return len(s) == 36 && uuid.Validate(s) == nil }
