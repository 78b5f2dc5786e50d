package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AzurePodIdentityException lets pods of its namespace reach the metadata
// service as the node does. It counts only in the namespaces that the operator
// of the cluster allows; its condition Effective says whether it does.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:metadata:annotations="api-approved.kubernetes.io=unapproved"
// +kubebuilder:resource:shortName=azidx,categories=podid
// +kubebuilder:printcolumn:name="Effective",type=string,JSONPath=`.status.conditions[?(@.type=="Effective")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AzurePodIdentityException struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +kubebuilder:validation:XValidation:rule="!has(self.podLabels) || !has(self.PodLabels) || self.podLabels == self.PodLabels",message="spec.podLabels and spec.PodLabels differ: keep spec.podLabels only"
	Spec   AzurePodIdentityExceptionSpec   `json:"spec,omitempty"`
	Status AzurePodIdentityExceptionStatus `json:"status,omitempty"`
}

// AzurePodIdentityExceptionSpec says which pods are excepted.
type AzurePodIdentityExceptionSpec struct {
	// Metadata is ignored; it is here because AAD Pod Identity had it.
	Metadata *metav1.ObjectMeta `json:"metadata,omitempty"`
	// PodLabels excepts every pod that has any one of these labels. Keys are
	// compared exactly, values without case. Empty excepts nothing.
	// +kubebuilder:validation:MaxProperties=64
	PodLabels map[string]LabelValue `json:"podLabels,omitempty"`
	// OldPodLabels is deprecated: write podLabels.
	// +kubebuilder:validation:MaxProperties=64
	OldPodLabels map[string]LabelValue `json:"PodLabels,omitempty"`
}

// LabelValue is the value of a label.
//
// +kubebuilder:validation:MaxLength=63
type LabelValue string

// AzurePodIdentityExceptionStatus says whether the exception counts.
type AzurePodIdentityExceptionStatus struct {
	// Metadata is ignored; it is here because AAD Pod Identity had it.
	Metadata *metav1.ObjectMeta `json:"metadata,omitempty"`
	// Status is not written; it is here because AAD Pod Identity had it.
	// +kubebuilder:validation:MaxLength=253
	Status string `json:"status,omitempty"`
	// ObservedGeneration is the generation that the conditions speak of.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions by type; DeprecatedSpelling and Effective among them.
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// AzurePodIdentityExceptionList is a list of AzurePodIdentityException.
//
// +kubebuilder:object:root=true
type AzurePodIdentityExceptionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AzurePodIdentityException `json:"items"`
}
