package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// IdentityType says what kind of Azure identity an AzureIdentity describes.
type IdentityType int

const (
	// UserAssignedMSI is a user-assigned managed identity (the zero value).
	UserAssignedMSI IdentityType = 0
	// ServicePrincipal is an app registration that proves itself with a client secret.
	ServicePrincipal IdentityType = 1
	// ServicePrincipalCertificate is an app registration that proves itself with a certificate.
	ServicePrincipalCertificate IdentityType = 2
)

// AzureIdentity describes one Azure identity. It grants nothing by itself: an
// AzureIdentityBinding names it, and a pod's label names the binding.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:metadata:annotations="api-approved.kubernetes.io=unapproved"
// +kubebuilder:resource:shortName=azid,categories=podid
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`
// +kubebuilder:printcolumn:name="ClientID",type=string,JSONPath=`.spec.clientID`
// +kubebuilder:printcolumn:name="ResourceID",type=string,JSONPath=`.spec.resourceID`,priority=1
// +kubebuilder:printcolumn:name="Pods",type=integer,JSONPath=`.status.matchedPods`
// +kubebuilder:printcolumn:name="Attached",type=string,JSONPath=`.status.conditions[?(@.type=="Attached")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:selectablefield:JSONPath=`.spec.clientID`
// +kubebuilder:selectablefield:JSONPath=`.spec.resourceID`
type AzureIdentity struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// The rules stand on this field and not on the type, so that the copy inside
	// an AzureAssignedIdentity is never refused for what its source once was.
	//
	// +kubebuilder:validation:XValidation:rule="!has(self.type) || !has(self.Type) || self.type == self.Type",message="spec.type and spec.Type differ: keep spec.type only"
	// +kubebuilder:validation:XValidation:rule="!has(self.resourceID) || !has(self.ResourceID) || self.resourceID == self.ResourceID",message="spec.resourceID and spec.ResourceID differ: keep spec.resourceID only"
	// +kubebuilder:validation:XValidation:rule="!has(self.clientID) || !has(self.ClientID) || self.clientID == self.ClientID",message="spec.clientID and spec.ClientID differ: keep spec.clientID only"
	// +kubebuilder:validation:XValidation:rule="!has(self.clientPassword) || !has(self.ClientPassword)",message="spec.clientPassword and spec.ClientPassword are both set: keep spec.clientPassword only"
	// +kubebuilder:validation:XValidation:rule="!has(self.tenantID) || !has(self.TenantID) || self.tenantID == self.TenantID",message="spec.tenantID and spec.TenantID differ: keep spec.tenantID only"
	// +kubebuilder:validation:XValidation:rule="!has(self.auxiliaryTenantIDs) || !has(self.AuxiliaryTenantIDs) || self.auxiliaryTenantIDs == self.AuxiliaryTenantIDs",message="spec.auxiliaryTenantIDs and spec.AuxiliaryTenantIDs differ: keep spec.auxiliaryTenantIDs only"
	// +kubebuilder:validation:XValidation:rule="!has(self.adResourceID) || !has(self.ADResourceID) || self.adResourceID == self.ADResourceID",message="spec.adResourceID and spec.ADResourceID differ: keep spec.adResourceID only"
	// +kubebuilder:validation:XValidation:rule="!has(self.adEndpoint) || !has(self.ADEndpoint) || self.adEndpoint == self.ADEndpoint",message="spec.adEndpoint and spec.ADEndpoint differ: keep spec.adEndpoint only"
	// +kubebuilder:validation:XValidation:rule="(has(self.type) ? self.type : has(self.Type) ? self.Type : 0) in [0, 1, 2]",message="spec.type is unknown: write 0 (user-assigned managed identity), 1 (service principal with a client secret) or 2 (service principal with a certificate)"
	// +kubebuilder:validation:XValidation:rule="(has(self.type) ? self.type : has(self.Type) ? self.Type : 0) != 0 || (has(self.resourceID) ? self.resourceID : has(self.ResourceID) ? self.ResourceID : '') != '' || (has(self.clientID) ? self.clientID : has(self.ClientID) ? self.ClientID : '') != ''",message="spec names no managed identity: set spec.resourceID (az identity show --query id), or spec.clientID if the identity is on the nodes already"
	// +kubebuilder:validation:XValidation:rule="(has(self.type) ? self.type : has(self.Type) ? self.Type : 0) != 0 || (has(self.resourceID) ? self.resourceID : has(self.ResourceID) ? self.ResourceID : '') == '' || (has(self.resourceID) ? self.resourceID : self.ResourceID).matches(r'^(?i)/subscriptions/[a-z0-9-]+/resourcegroups/[\\p{L}\\p{N}_().-]*[\\p{L}\\p{N}_()-]/providers/microsoft[.]managedidentity/userassignedidentities/[a-z0-9_-]+$')",message="spec.resourceID is not the id of a user-assigned managed identity: write /subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME (az identity show --query id)"
	// +kubebuilder:validation:XValidation:rule="(has(self.type) ? self.type : has(self.Type) ? self.Type : 0) == 0 || (has(self.clientID) ? self.clientID : has(self.ClientID) ? self.ClientID : '') != ''",message="a service principal (type 1 or 2) needs spec.clientID: write the application (client) id"
	// +kubebuilder:validation:XValidation:rule="(has(self.type) ? self.type : has(self.Type) ? self.Type : 0) == 0 || (has(self.tenantID) ? self.tenantID : has(self.TenantID) ? self.TenantID : '') != ''",message="a service principal (type 1 or 2) needs spec.tenantID: write the id of its Entra tenant"
	// +kubebuilder:validation:XValidation:rule="(has(self.type) ? self.type : has(self.Type) ? self.Type : 0) == 0 || has(self.clientPassword) || has(self.ClientPassword)",message="a service principal (type 1 or 2) needs spec.clientPassword: write {name: SECRET, namespace: NAMESPACE} of the Secret that holds its client secret or certificate"
	// +kubebuilder:validation:XValidation:rule="(has(self.type) ? self.type : has(self.Type) ? self.Type : 0) == 0 || (has(self.tenantID) ? self.tenantID : has(self.TenantID) ? self.TenantID : '') == '' || (has(self.tenantID) ? self.tenantID : has(self.TenantID) ? self.TenantID : '').matches('^(?i)([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)+)$')",message="spec.tenantID is no tenant: write its GUID, or a domain name of it like contoso.onmicrosoft.com"
	// +kubebuilder:validation:XValidation:rule="(has(self.type) ? self.type : has(self.Type) ? self.Type : 0) == 0 || (has(self.auxiliaryTenantIDs) ? self.auxiliaryTenantIDs : has(self.AuxiliaryTenantIDs) ? self.AuxiliaryTenantIDs : []).all(t, t.matches('^(?i)([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)+)$'))",message="spec.auxiliaryTenantIDs has one that is no tenant: write GUIDs, or domain names like contoso.onmicrosoft.com"
	// +kubebuilder:validation:XValidation:rule="(has(self.type) ? self.type : has(self.Type) ? self.Type : 0) == 0 || size((has(self.auxiliaryTenantIDs) ? self.auxiliaryTenantIDs : has(self.AuxiliaryTenantIDs) ? self.AuxiliaryTenantIDs : [])) <= 3",message="spec.auxiliaryTenantIDs are too many: write at most 3"
	// +kubebuilder:validation:XValidation:rule="(has(self.type) ? self.type : has(self.Type) ? self.Type : 0) == 0 || (has(self.adEndpoint) ? self.adEndpoint : has(self.ADEndpoint) ? self.ADEndpoint : '') == '' || (has(self.adEndpoint) ? self.adEndpoint : has(self.ADEndpoint) ? self.ADEndpoint : '').matches('^(?i)https://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?/?$')",message="spec.adEndpoint is no Entra host: write https and the host, like https://login.microsoftonline.com, without user, path or query"
	// +kubebuilder:validation:XValidation:rule="!has(self.allowedServiceAccounts) || size(self.allowedServiceAccounts) > 0 && self.allowedServiceAccounts.all(a, a.matches('^([a-z0-9]([a-z0-9-]*[a-z0-9])?/)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?$'))",message="spec.allowedServiceAccounts is no list of service accounts: write NAME for one of this namespace or NAMESPACE/NAME for another, one at least, or leave the field out to let every pod that is bound use it"
	// +kubebuilder:validation:XValidation:rule="!has(self.allowedNamespaces) || size(self.allowedNamespaces) > 0 && self.allowedNamespaces.all(n, n.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$'))",message="spec.allowedNamespaces is no list of namespaces: write one at least, or leave the field out to let every pod that is bound use it"
	Spec   AzureIdentitySpec   `json:"spec,omitempty"`
	Status AzureIdentityStatus `json:"status,omitempty"`
}

// AzureIdentitySpec says which identity it is and how to get its tokens.
type AzureIdentitySpec struct {
	// Metadata is ignored; it is here because AAD Pod Identity had it.
	Metadata *metav1.ObjectMeta `json:"metadata,omitempty"`
	// Type is 0 for a user-assigned managed identity (the default), 1 for a
	// service principal with a client secret, 2 for one with a certificate.
	Type *IdentityType `json:"type,omitempty"`
	// ResourceID is the ARM id of the managed identity (type 0). Without it the
	// identity is never assigned to a VM or scale set.
	// +kubebuilder:validation:MaxLength=2048
	ResourceID string `json:"resourceID,omitempty"`
	// ClientID is the client id of the managed identity or the application.
	// +kubebuilder:validation:MaxLength=253
	ClientID string `json:"clientID,omitempty"`
	// ObjectID is the object (principal) id, for clients that ask by object_id.
	// +kubebuilder:validation:MaxLength=253
	ObjectID string `json:"objectID,omitempty"`
	// ClientPassword is the Secret with the client secret (type 1) or the
	// certificate (type 2).
	ClientPassword *SecretReference `json:"clientPassword,omitempty"`
	// TenantID is the Entra tenant of the application (types 1 and 2): its GUID or
	// a domain name of it.
	// +kubebuilder:validation:MaxLength=253
	TenantID string `json:"tenantID,omitempty"`
	// AuxiliaryTenantIDs are further tenants (types 1 and 2), at most three.
	// +nullable
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=253
	AuxiliaryTenantIDs []string `json:"auxiliaryTenantIDs,omitempty"`
	// ADResourceID is ignored, as it was by AAD Pod Identity.
	// +kubebuilder:validation:MaxLength=2048
	ADResourceID string `json:"adResourceID,omitempty"`
	// ADEndpoint is the Entra authority host (types 1 and 2), as https://HOST; empty
	// means that of the cloud.
	// +kubebuilder:validation:MaxLength=2048
	ADEndpoint string `json:"adEndpoint,omitempty"`
	// AllowedServiceAccounts, where it is given, are the service accounts whose pods
	// may use the identity: NAME for one of this namespace, or NAMESPACE/NAME.
	// Nobody else may, whatever is bound. Without it every pod that is bound may.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=317
	AllowedServiceAccounts []string `json:"allowedServiceAccounts,omitempty"`
	// AllowedNamespaces, where it is given, are the namespaces whose pods may use the
	// identity. Where both lists are given, both must name the pod.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=63
	AllowedNamespaces []string `json:"allowedNamespaces,omitempty"`
	// Replicas is ignored, as it was by AAD Pod Identity.
	// +nullable
	Replicas *int32 `json:"replicas,omitempty"`

	// The spellings from before AAD Pod Identity 1.6; see Canonical.

	// OldType is deprecated: write type.
	OldType *IdentityType `json:"Type,omitempty"`
	// OldResourceID is deprecated: write resourceID.
	// +kubebuilder:validation:MaxLength=2048
	OldResourceID string `json:"ResourceID,omitempty"`
	// OldClientID is deprecated: write clientID.
	// +kubebuilder:validation:MaxLength=253
	OldClientID string `json:"ClientID,omitempty"`
	// OldClientPassword is deprecated: write clientPassword.
	OldClientPassword *SecretReference `json:"ClientPassword,omitempty"`
	// OldTenantID is deprecated: write tenantID.
	// +kubebuilder:validation:MaxLength=253
	OldTenantID string `json:"TenantID,omitempty"`
	// OldAuxiliaryTenantIDs is deprecated: write auxiliaryTenantIDs.
	// +nullable
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=253
	OldAuxiliaryTenantIDs []string `json:"AuxiliaryTenantIDs,omitempty"`
	// OldADResourceID is deprecated: write adResourceID.
	// +kubebuilder:validation:MaxLength=2048
	OldADResourceID string `json:"ADResourceID,omitempty"`
	// OldADEndpoint is deprecated: write adEndpoint.
	// +kubebuilder:validation:MaxLength=2048
	OldADEndpoint string `json:"ADEndpoint,omitempty"`
}

// SecretReference names a Secret.
//
// +kubebuilder:validation:XValidation:rule="!has(self.name) || !has(self.Name) || self.name == self.Name",message="clientPassword.name and clientPassword.Name differ: keep clientPassword.name only"
// +kubebuilder:validation:XValidation:rule="!has(self.__namespace__) || !has(self.Namespace) || self.__namespace__ == self.Namespace",message="clientPassword.namespace and clientPassword.Namespace differ: keep clientPassword.namespace only"
// +kubebuilder:validation:XValidation:rule="(has(self.name) && size(self.name) > 0) || (has(self.Name) && size(self.Name) > 0)",message="clientPassword names no Secret: set clientPassword.name"
type SecretReference struct {
	// Name of the Secret.
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// Namespace of the Secret; empty means that of the AzureIdentity.
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
	// OldName is deprecated: write name.
	// +kubebuilder:validation:MaxLength=253
	OldName string `json:"Name,omitempty"`
	// OldNamespace is deprecated: write namespace.
	// +kubebuilder:validation:MaxLength=63
	OldNamespace string `json:"Namespace,omitempty"`
}

// AzureIdentityStatus is what podid found out about the identity.
type AzureIdentityStatus struct {
	// Metadata is ignored; it is here because AAD Pod Identity had it.
	Metadata *metav1.ObjectMeta `json:"metadata,omitempty"`
	// AvailableReplicas is not written; it is here because AAD Pod Identity had it.
	AvailableReplicas int32 `json:"availableReplicas,omitempty"`
	// ObservedGeneration is the generation that the conditions speak of.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// MatchedPods is how many pods that run have the identity.
	MatchedPods int32 `json:"matchedPods,omitempty"`
	// Conditions by type; DeprecatedSpelling and Attached among them.
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// AzureIdentityList is a list of AzureIdentity.
//
// +kubebuilder:object:root=true
type AzureIdentityList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AzureIdentity `json:"items"`
}
