package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AzureIdentityBinding ties a selector, which pods name in their label
// aadpodidbinding, to an AzureIdentity of the same namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:metadata:annotations="api-approved.kubernetes.io=unapproved"
// +kubebuilder:resource:shortName=azidb,categories=podid
// +kubebuilder:printcolumn:name="AzureIdentity",type=string,JSONPath=`.spec.azureIdentity`
// +kubebuilder:printcolumn:name="Selector",type=string,JSONPath=`.spec.selector`
// +kubebuilder:printcolumn:name="Pods",type=integer,JSONPath=`.status.matchedPods`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:selectablefield:JSONPath=`.spec.azureIdentity`
// +kubebuilder:selectablefield:JSONPath=`.spec.selector`
type AzureIdentityBinding struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +kubebuilder:validation:XValidation:rule="!has(self.azureIdentity) || !has(self.AzureIdentity) || self.azureIdentity == self.AzureIdentity",message="spec.azureIdentity and spec.AzureIdentity differ: keep spec.azureIdentity only"
	// +kubebuilder:validation:XValidation:rule="!has(self.selector) || !has(self.Selector) || self.selector == self.Selector",message="spec.selector and spec.Selector differ: keep spec.selector only"
	// +kubebuilder:validation:XValidation:rule="!has(self.weight) || !has(self.Weight) || self.weight == self.Weight",message="spec.weight and spec.Weight differ: keep spec.weight only"
	// +kubebuilder:validation:XValidation:rule="(has(self.azureIdentity) ? self.azureIdentity : has(self.AzureIdentity) ? self.AzureIdentity : '') != ''",message="spec.azureIdentity is empty: write the name of an AzureIdentity of this namespace"
	// +kubebuilder:validation:XValidation:rule="(has(self.selector) ? self.selector : has(self.Selector) ? self.Selector : '').matches('^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$')",message="spec.selector can never equal a label: write the value that pods have in their label aadpodidbinding (letters, digits, '-', '_' and '.', at most 63 characters)"
	// +kubebuilder:validation:XValidation:rule="!has(self.allowedServiceAccounts) || size(self.allowedServiceAccounts) > 0 && self.allowedServiceAccounts.all(a, a.matches('^([a-z0-9]([a-z0-9-]*[a-z0-9])?/)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?$'))",message="spec.allowedServiceAccounts is no list of service accounts: write NAME for one of this namespace or NAMESPACE/NAME for another, one at least, or leave the field out to let every pod that is bound use it"
	// +kubebuilder:validation:XValidation:rule="!has(self.allowedNamespaces) || size(self.allowedNamespaces) > 0 && self.allowedNamespaces.all(n, n.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$'))",message="spec.allowedNamespaces is no list of namespaces: write one at least, or leave the field out to let every pod that is bound use it"
	Spec   AzureIdentityBindingSpec   `json:"spec,omitempty"`
	Status AzureIdentityBindingStatus `json:"status,omitempty"`
}

// AzureIdentityBindingSpec says which pods get which identity.
type AzureIdentityBindingSpec struct {
	// Metadata is ignored; it is here because AAD Pod Identity had it.
	Metadata *metav1.ObjectMeta `json:"metadata,omitempty"`
	// AzureIdentity is the name of an AzureIdentity in the namespace of this binding.
	// +kubebuilder:validation:MaxLength=253
	AzureIdentity string `json:"azureIdentity,omitempty"`
	// Selector is compared for equality with the pods' label aadpodidbinding.
	// +kubebuilder:validation:MaxLength=63
	Selector string `json:"selector,omitempty"`
	// Weight decides which identity a pod with several gets when it asks for none
	// by name: the highest, then the first by name of binding. The default is 0.
	Weight int `json:"weight,omitempty"`
	// AllowedServiceAccounts, where it is given, are the service accounts whose pods
	// get the identity by this binding: NAME for one of this namespace, or
	// NAMESPACE/NAME. Without it every pod that is bound gets it. It narrows what the
	// AzureIdentity allows, and never widens it. Who may write bindings may change it,
	// or write another: what must hold against them belongs on the AzureIdentity.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=317
	AllowedServiceAccounts []string `json:"allowedServiceAccounts,omitempty"`
	// AllowedNamespaces, where it is given, are the namespaces whose pods get the
	// identity by this binding. Where both lists are given, both must name the pod.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=63
	AllowedNamespaces []string `json:"allowedNamespaces,omitempty"`

	// OldAzureIdentity is deprecated: write azureIdentity.
	// +kubebuilder:validation:MaxLength=253
	OldAzureIdentity string `json:"AzureIdentity,omitempty"`
	// OldSelector is deprecated: write selector.
	// +kubebuilder:validation:MaxLength=63
	OldSelector string `json:"Selector,omitempty"`
	// OldWeight is deprecated: write weight.
	OldWeight int `json:"Weight,omitempty"`
}

// AzureIdentityBindingStatus is what podid found out about the binding.
type AzureIdentityBindingStatus struct {
	// Metadata is ignored; it is here because AAD Pod Identity had it.
	Metadata *metav1.ObjectMeta `json:"metadata,omitempty"`
	// AvailableReplicas is not written; it is here because AAD Pod Identity had it.
	AvailableReplicas int32 `json:"availableReplicas,omitempty"`
	// ObservedGeneration is the generation that the conditions speak of.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// MatchedPods is how many pods that run have their identity by this binding. A pod
	// to which several bindings give the same identity counts for one of them.
	MatchedPods int32 `json:"matchedPods,omitempty"`
	// Conditions by type; DeprecatedSpelling and PreAssign among them.
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// AzureIdentityBindingList is a list of AzureIdentityBinding.
//
// +kubebuilder:object:root=true
type AzureIdentityBindingList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AzureIdentityBinding `json:"items"`
}
