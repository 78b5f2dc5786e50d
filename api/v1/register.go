package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and the one version that podid serves and stores.
var GroupVersion = schema.GroupVersion{Group: "aadpodidentity.k8s.io", Version: "v1"}

// AddToScheme registers the four kinds and their lists.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&AzureIdentity{}, &AzureIdentityList{},
		&AzureIdentityBinding{}, &AzureIdentityBindingList{},
		&AzureAssignedIdentity{}, &AzureAssignedIdentityList{},
		&AzurePodIdentityException{}, &AzurePodIdentityExceptionList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}

const (
	// LabelBinding is the label by which a pod asks for an identity; its value
	// is compared for equality with the selector of a binding.
	LabelBinding = "aadpodidbinding"
	// LabelNodeName is set on every AzureAssignedIdentity to the node of its
	// pod, so that an agent can watch its own node only. See NodeLabel.
	LabelNodeName = "nodename"
	// AnnotationNamespaceBinding on a Namespace names the binding of every pod
	// there that has no label of its own.
	AnnotationNamespaceBinding = "aadpodidentitybinding"
	// AnnotationPrefetch on a Pod names resources, with commas between them, whose
	// tokens are fetched before the pod asks.
	AnnotationPrefetch = "podid.io/prefetch"
	// AnnotationPreAssign on an AzureIdentityBinding is a label selector of nodes: its
	// identity is put on their VMs and scale sets before the first pod. Empty, or *,
	// means all nodes.
	AnnotationPreAssign = "podid.io/pre-assign"
	// AnnotationBehavior with the value BehaviorNamespaced keeps one identity to
	// its own namespace where matching across namespaces is allowed.
	AnnotationBehavior = "aadpodidentity.k8s.io/Behavior"
	// BehaviorNamespaced is the only value of AnnotationBehavior with a meaning.
	BehaviorNamespaced = "namespaced"
)

const (
	// ConditionDeprecatedSpelling is True while an object uses field names from
	// before AAD Pod Identity 1.6; its message names today's.
	ConditionDeprecatedSpelling = "DeprecatedSpelling"
	// ConditionAttached on an AzureIdentity is True while it is attached wherever a
	// pod needs it. Where it is False, its message says what to do.
	ConditionAttached = "Attached"
	// ConditionPreAssign on an AzureIdentityBinding is False while the annotation
	// AnnotationPreAssign is no selector of nodes, or its identity cannot be put on
	// one of them.
	ConditionPreAssign = "PreAssign"
	// ConditionEffective on an AzurePodIdentityException is False when its
	// namespace is not among those whose exceptions count.
	ConditionEffective = "Effective"
)

// Reasons of ConditionAttached.
const (
	// ReasonAttached is that it is attached wherever a pod needs it.
	ReasonAttached = "Attached"
	// ReasonAttaching is that it is on its way.
	ReasonAttaching = "Attaching"
	// ReasonRefused is that Azure refuses this identity on a VM or scale set.
	ReasonRefused = "RefusedByAzure"
	// ReasonNotChanged is that a VM or scale set could not be changed at all.
	ReasonNotChanged = "MachineNotChanged"
	// ReasonNoMachine is that it is needed on nodes alone of which no machine of Azure
	// is known.
	ReasonNoMachine = "NoMachine"
	// ReasonInvalid is that nothing can be attached that is as the AzureIdentity says.
	ReasonInvalid = "Invalid"
)
