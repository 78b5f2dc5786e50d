package azemu

import "github.com/podid-io/podid/internal/roles"

// builtInRoles are the roles of Azure's own that have to do with machines,
// identities and roles, as of 2026; see
// https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
func builtInRoles() []RoleDefinition {
	return []RoleDefinition{
		builtIn("8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "Owner", roles.Permission{Actions: []string{"*"}}),
		builtIn("b24988ac-6180-42a0-ab88-20f7382dd24c", "Contributor", roles.Permission{
			Actions: []string{"*"},
			NotActions: []string{
				"Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write", "Microsoft.Authorization/elevateAccess/Action",
				"Microsoft.Blueprint/blueprintAssignments/write", "Microsoft.Blueprint/blueprintAssignments/delete",
				"Microsoft.Compute/galleries/share/action", "Microsoft.Purview/consents/write", "Microsoft.Purview/consents/delete",
				"Microsoft.Resources/deploymentStacks/manageDenySetting/action",
			},
		}),
		builtIn("acdd72a7-3385-48ef-bd42-f606fba81ae7", "Reader", roles.Permission{Actions: []string{"*/read"}}),
		builtIn("18d7d88d-d35e-4fb5-a5c3-7773c20a72d9", "User Access Administrator", roles.Permission{
			Actions: []string{"*/read", "Microsoft.Authorization/*", "Microsoft.Support/*"},
		}),
		builtIn("9980e02c-c2be-4d73-94e8-173b1dc7cf3c", "Virtual Machine Contributor", virtualMachineContributor()),
		builtIn("f1a07417-d97a-45cb-824c-7a7467783830", "Managed Identity Operator", roles.Permission{Actions: []string{
			"Microsoft.ManagedIdentity/userAssignedIdentities/*/read", "Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action",
			"Microsoft.Authorization/*/read", "Microsoft.Insights/alertRules/*", "Microsoft.Resources/subscriptions/resourceGroups/read",
			"Microsoft.Resources/deployments/*", "Microsoft.Support/*",
		}}),
		builtIn("e40ec5ca-96e0-45a2-b4ff-59039f2c2b59", "Managed Identity Contributor", roles.Permission{Actions: []string{
			"Microsoft.ManagedIdentity/userAssignedIdentities/read", "Microsoft.ManagedIdentity/userAssignedIdentities/write",
			"Microsoft.ManagedIdentity/userAssignedIdentities/delete",
			"Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/read",
			"Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/write",
			"Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/delete",
			"Microsoft.ManagedIdentity/userAssignedIdentities/revokeTokens/action",
			"Microsoft.Authorization/*/read", "Microsoft.Insights/alertRules/*", "Microsoft.Resources/subscriptions/resourceGroups/read",
			"Microsoft.Resources/deployments/*", "Microsoft.Support/*",
		}}),
	}
}

func virtualMachineContributor() roles.Permission {
	return roles.Permission{Actions: []string{
		"Microsoft.Authorization/*/read", "Microsoft.Compute/availabilitySets/*", "Microsoft.Compute/locations/*",
		"Microsoft.Compute/virtualMachines/*", "Microsoft.Compute/virtualMachineScaleSets/*", "Microsoft.Compute/cloudServices/*",
		"Microsoft.Compute/disks/write", "Microsoft.Compute/disks/read", "Microsoft.Compute/disks/delete",
		"Microsoft.DevTestLab/schedules/*", "Microsoft.Insights/alertRules/*",
		"Microsoft.Network/applicationGateways/backendAddressPools/join/action", "Microsoft.Network/loadBalancers/backendAddressPools/join/action",
		"Microsoft.Network/loadBalancers/inboundNatPools/join/action", "Microsoft.Network/loadBalancers/inboundNatRules/join/action",
		"Microsoft.Network/loadBalancers/probes/join/action", "Microsoft.Network/loadBalancers/read", "Microsoft.Network/locations/*",
		"Microsoft.Network/networkInterfaces/*", "Microsoft.Network/networkSecurityGroups/join/action", "Microsoft.Network/networkSecurityGroups/read",
		"Microsoft.Network/publicIPAddresses/join/action", "Microsoft.Network/publicIPAddresses/read",
		"Microsoft.Network/virtualNetworks/read", "Microsoft.Network/virtualNetworks/subnets/join/action",
		"Microsoft.RecoveryServices/locations/*", "Microsoft.RecoveryServices/Vaults/backupFabrics/backupProtectionIntent/write",
		"Microsoft.RecoveryServices/Vaults/backupFabrics/protectionContainers/protectedItems/*/read",
		"Microsoft.RecoveryServices/Vaults/backupFabrics/protectionContainers/protectedItems/read",
		"Microsoft.RecoveryServices/Vaults/backupFabrics/protectionContainers/protectedItems/write",
		"Microsoft.RecoveryServices/Vaults/backupPolicies/read", "Microsoft.RecoveryServices/Vaults/backupPolicies/write",
		"Microsoft.RecoveryServices/Vaults/read", "Microsoft.RecoveryServices/Vaults/usages/read", "Microsoft.RecoveryServices/Vaults/write",
		"Microsoft.Resources/deployments/*", "Microsoft.Resources/subscriptions/resourceGroups/read",
		"Microsoft.SerialConsole/serialPorts/connect/action", "Microsoft.SqlVirtualMachine/*",
		"Microsoft.Storage/storageAccounts/listKeys/action", "Microsoft.Storage/storageAccounts/read", "Microsoft.Support/*",
	}}
}

func builtIn(id, name string, p roles.Permission) RoleDefinition {
	return RoleDefinition{Name: id, RoleName: name, AssignableScopes: []string{"/"}, Permissions: []roles.Permission{p}}
}
