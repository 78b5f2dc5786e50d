// Package v1 is the API of podid: the four kinds of the group
// aadpodidentity.k8s.io, compatible field for field with AAD Pod Identity.
//
// Field names from before AAD Pod Identity 1.6 (ResourceID, AzureIdentity, …)
// are declared as optional fields of their own, because a structural schema
// prunes what it does not declare. Nobody reads them directly: Canonical, one
// accessor per kind, folds them into today's names, and DeprecatedFields says
// which of them an object uses. The API server refuses an object that gives
// both spellings with different values.
//
// +kubebuilder:object:generate=true
// +groupName=aadpodidentity.k8s.io
package v1
