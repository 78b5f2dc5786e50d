package azemu

import (
	"log/slog"
	"net/netip"
)

// State is what exists in the emulated cloud: the format of the admin API and
// of the state file. Ids of clients and principals that are left out are derived
// from the ARM id, so that the same seed always means the same ids.
type State struct {
	// Tenant is the id of the tenant of everything that names no other.
	Tenant string `json:"tenant,omitempty"`
	// Tenants are the ids of other tenants that exist, beside those of apps.
	Tenants []string `json:"tenants,omitempty"`
	// Identities are the user-assigned managed identities.
	Identities []Identity `json:"identities,omitempty"`
	// Apps are the service principals that can sign in.
	Apps []App `json:"apps,omitempty"`
	// Groups are those of Entra ID whose roles their members have.
	Groups []Group `json:"groups,omitempty"`
	// RoleDefinitions are the custom roles.
	RoleDefinitions []RoleDefinition `json:"roleDefinitions,omitempty"`
	// RoleAssignments are who has which role, of consequence with
	// Config.EnforceRoles.
	RoleAssignments []RoleAssignment `json:"roleAssignments,omitempty"`
	// VMs are the virtual machines that belong to no scale set, or to a flexible one.
	VMs []VM `json:"virtualMachines,omitempty"`
	// ScaleSets are the virtual machine scale sets. They are read before the VMs.
	ScaleSets []ScaleSet `json:"virtualMachineScaleSets,omitempty"`
}

// Identity is a user-assigned managed identity.
type Identity struct {
	// ID is its ARM id.
	ID          string `json:"id"`
	ClientID    string `json:"clientId,omitempty"`
	PrincipalID string `json:"principalId,omitempty"`
	// Location is an Azure region. The default is westeurope.
	Location string `json:"location,omitempty"`
	// FederatedCredentials are tokens of others with which it can sign in.
	FederatedCredentials []FederatedCredential `json:"federatedCredentials,omitempty"`
	// NoPermission says that nobody may assign it: LinkedAuthorizationFailed.
	NoPermission bool `json:"noPermission,omitempty"`
}

// App is a service principal.
type App struct {
	ClientID string `json:"clientId"`
	ObjectID string `json:"objectId,omitempty"`
	// Secrets are the valid client secrets. They can be written, never read back.
	Secrets []string `json:"secrets,omitempty"`
	// Certificates are those that it can sign in with, in PEM or as DER in base64.
	Certificates []string `json:"certificates,omitempty"`
	// FederatedCredentials are tokens of others with which it can sign in.
	FederatedCredentials []FederatedCredential `json:"federatedCredentials,omitempty"`
	// Tenants are the ids of the tenants that it is in. The default is the
	// state's one tenant.
	Tenants []string `json:"tenants,omitempty"`
}

// LogValue leaves the secrets out.
func (a App) LogValue() slog.Value { return slog.StringValue(a.ClientID) }

// VM is a virtual machine.
type VM struct {
	// ID is its ARM id; the last segment is the name of the machine.
	ID string `json:"id"`
	// Location is an Azure region. The default is westeurope.
	Location string `json:"location,omitempty"`
	// VMID is the unique id that IMDS shows. The default is derived from ID.
	VMID string `json:"vmId,omitempty"`
	// Identity is what is assigned to it. Nil means nothing, or in a merge what it was.
	Identity *Assigned `json:"identity,omitempty"`
	// Sources are the addresses from which its IMDS is asked: its own and its pods'.
	Sources []netip.Prefix `json:"sources,omitempty"`
	// UserData is what its creator gave it, in base64.
	UserData string `json:"userData,omitempty"`
	// ScaleSet is the ARM id of the flexible scale set that it belongs to. One that
	// is new, and has no Identity, gets those of the scale set.
	ScaleSet string `json:"virtualMachineScaleSet,omitempty"`

	Status
}

// The orchestration modes of scale sets.
const (
	Uniform  = "Uniform"
	Flexible = "Flexible"
)

// ScaleSet is a virtual machine scale set.
type ScaleSet struct {
	// ID is its ARM id.
	ID string `json:"id"`
	// Location is an Azure region. The default is westeurope.
	Location string `json:"location,omitempty"`
	// OrchestrationMode is Uniform or Flexible. The default is Uniform. The machines
	// of a flexible one are VMs with identities of their own.
	OrchestrationMode string `json:"orchestrationMode,omitempty"`
	// Identity is what is assigned to it, and so to every instance; of a flexible one
	// to those VMs only that are made later. Nil means nothing, or in a merge what it
	// was.
	Identity *Assigned `json:"identity,omitempty"`
	// Instances are its machines. A flexible one has none.
	Instances []Instance `json:"instances,omitempty"`
	// UserData is what its creator gave to every instance, in base64.
	UserData string `json:"userData,omitempty"`
	// UniqueID is its own, which one made anew under the same name does not have.
	// The default is derived from ID.
	UniqueID string `json:"uniqueId,omitempty"`

	Status
}

// Instance is one machine of a scale set.
type Instance struct {
	// InstanceID is its number in the scale set, such as "0".
	InstanceID string `json:"instanceId"`
	// Name is the name of the machine, such as aks-pool-1-vmss000000.
	Name string `json:"name"`
	// VMID is the unique id that IMDS shows. The default is derived.
	VMID string `json:"vmId,omitempty"`
	// Sources are the addresses from which its IMDS is asked: its own and its pods'.
	Sources []netip.Prefix `json:"sources,omitempty"`
}

// Assigned is what identities a VM or scale set has.
type Assigned struct {
	// Type is None, SystemAssigned, UserAssigned or "SystemAssigned,
	// UserAssigned". The default follows from UserAssigned.
	Type string `json:"type,omitempty"`
	// UserAssigned are the ARM ids of user-assigned identities.
	UserAssigned []string `json:"userAssignedIdentities,omitempty"`
}

// Status is what the emulator tells of a VM or scale set. It is ignored where
// state is written.
type Status struct {
	// ETag changes with every write.
	ETag string `json:"etag,omitempty"`
	// ProvisioningState is Succeeded, Updating, Failed or Canceled.
	ProvisioningState string `json:"provisioningState,omitempty"`
	// Visible are the ARM ids of the user-assigned identities that IMDS knows: a
	// PATCH shows in Identity at once and here when its operation has ended.
	Visible []string `json:"visible,omitempty"`
}
