package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AssignedState is how far an identity is on its way to the node of a pod.
type AssignedState string

const (
	// Created means that the pair is known and the identity is on its way.
	Created AssignedState = "Created"
	// Assigned means that the identity is on the VM or scale set.
	Assigned AssignedState = "Assigned"
	// Unassigned means that the identity has been taken off; podid deletes
	// instead, but objects of AAD Pod Identity can carry it.
	Unassigned AssignedState = "Unassigned"
)

// AzureAssignedIdentity records that the identity of one pod is, or is on its
// way to be, on the pod's node. mic writes it and nmi waits for it. It is
// evidence of attachment, never of entitlement: nmi decides who gets which
// identity from pod, binding and identity alone.
//
// It has no status subresource, because a status sent along with POST would be
// dropped there, and an empty state means "usable" to AAD Pod Identity.
//
// +kubebuilder:object:root=true
// +kubebuilder:metadata:annotations="api-approved.kubernetes.io=unapproved"
// +kubebuilder:resource:shortName=azaid,categories=podid
// +kubebuilder:printcolumn:name="Pod",type=string,JSONPath=`.spec.pod`
// +kubebuilder:printcolumn:name="AzureIdentity",type=string,JSONPath=`.spec.azureIdentityRef.metadata.name`
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.spec.nodename`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:selectablefield:JSONPath=`.spec.nodename`
// +kubebuilder:selectablefield:JSONPath=`.spec.pod`
// +kubebuilder:selectablefield:JSONPath=`.status.status`
type AzureAssignedIdentity struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   AzureAssignedIdentitySpec   `json:"spec,omitempty"`
	Status AzureAssignedIdentityStatus `json:"status,omitempty"`
}

// AzureAssignedIdentitySpec says which identity, which pod and which node.
type AzureAssignedIdentitySpec struct {
	// Metadata is ignored; it is here because AAD Pod Identity had it.
	Metadata *metav1.ObjectMeta `json:"metadata,omitempty"`
	// AzureIdentityRef is a copy of the AzureIdentity: kind, name, namespace, uid and spec.
	// +kubebuilder:validation:EmbeddedResource
	AzureIdentityRef *AzureIdentityRef `json:"azureIdentityRef,omitempty"`
	// AzureBindingRef is a copy of the AzureIdentityBinding: kind, name, namespace, uid and spec.
	// +kubebuilder:validation:EmbeddedResource
	AzureBindingRef *AzureBindingRef `json:"azureBindingRef,omitempty"`
	// Pod is the name of the pod.
	// +kubebuilder:validation:MaxLength=253
	Pod string `json:"pod,omitempty"`
	// PodNamespace is the namespace of the pod.
	// +kubebuilder:validation:MaxLength=63
	PodNamespace string `json:"podNamespace,omitempty"`
	// PodUID is the uid of the pod; a pod of the same name that came later is
	// another one. Empty on objects of AAD Pod Identity.
	// +kubebuilder:validation:MaxLength=63
	PodUID string `json:"podUID,omitempty"`
	// NodeName is the node of the pod.
	// +kubebuilder:validation:MaxLength=253
	NodeName string `json:"nodename,omitempty"`
	// Replicas is ignored, as it was by AAD Pod Identity.
	// +nullable
	Replicas *int32 `json:"replicas,omitempty"`
}

// AzureIdentityRef is the copy of an AzureIdentity inside an AzureAssignedIdentity.
type AzureIdentityRef struct {
	APIVersion        string `json:"apiVersion,omitempty"`
	Kind              string `json:"kind,omitempty"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              AzureIdentitySpec `json:"spec,omitempty"`
}

// AzureBindingRef is the copy of an AzureIdentityBinding inside an AzureAssignedIdentity.
type AzureBindingRef struct {
	APIVersion        string `json:"apiVersion,omitempty"`
	Kind              string `json:"kind,omitempty"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              AzureIdentityBindingSpec `json:"spec,omitempty"`
}

// AzureAssignedIdentityStatus is the state and, where it failed, why.
type AzureAssignedIdentityStatus struct {
	// Metadata is ignored; it is here because AAD Pod Identity had it.
	Metadata *metav1.ObjectMeta `json:"metadata,omitempty"`
	// Status is Created, Assigned or Unassigned. An object of AAD Pod Identity
	// from before 1.5 has none and counts as Assigned.
	// +kubebuilder:validation:MaxLength=32
	Status AssignedState `json:"status,omitempty"`
	// AvailableReplicas is 1; it is here because AAD Pod Identity had it.
	AvailableReplicas int32 `json:"availableReplicas,omitempty"`
	// Conditions by type.
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// AzureAssignedIdentityList is a list of AzureAssignedIdentity.
//
// +kubebuilder:object:root=true
type AzureAssignedIdentityList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AzureAssignedIdentity `json:"items"`
}
