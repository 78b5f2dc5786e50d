package whocan

import (
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DefinePolicy is the name of the policy that asks for the verb define, and of its
// binding.
const DefinePolicy = "podid-define"

// Asked reports whether the API server asks for the verb define: whether it has the
// policy and its binding as they are shipped. One that was changed is not counted,
// whatever it still asks for.
func Asked(shipped, there *admissionv1.ValidatingAdmissionPolicy, binding *admissionv1.ValidatingAdmissionPolicyBinding) bool {
	if shipped == nil || there == nil || binding == nil {
		return false
	}
	x, y := there.Spec, shipped.Spec
	return equality.Semantic.DeepEqual(x.Variables, y.Variables) && equality.Semantic.DeepEqual(x.Validations, y.Validations) &&
		equality.Semantic.DeepEqual(x.MatchConditions, y.MatchConditions) && equality.Semantic.DeepEqual(x.ParamKind, y.ParamKind) &&
		(x.FailurePolicy == nil || *x.FailurePolicy == admissionv1.Fail) &&
		x.MatchConstraints != nil && whole(x.MatchConstraints, y.MatchConstraints) &&
		binding.Spec.PolicyName == there.Name && denies(&binding.Spec)
}

// denies reports whether a binding has everything denied that its policy refuses.
func denies(b *admissionv1.ValidatingAdmissionPolicyBindingSpec) bool {
	return b.ParamRef == nil && slices.Contains(b.ValidationActions, admissionv1.Deny) &&
		(b.MatchResources == nil || equality.Semantic.DeepEqual(*b.MatchResources, admissionv1.MatchResources{}))
}

// whole reports whether a policy is for all that the shipped one is for.
func whole(m, shipped *admissionv1.MatchResources) bool {
	if len(m.ExcludeResourceRules) > 0 || selects(m.NamespaceSelector) || selects(m.ObjectSelector) ||
		len(m.ResourceRules) != len(shipped.ResourceRules) {
		return false
	}
	for i := range m.ResourceRules {
		x, y := m.ResourceRules[i], shipped.ResourceRules[i]
		if len(x.ResourceNames) > 0 || !equality.Semantic.DeepEqual(x.APIGroups, y.APIGroups) ||
			!equality.Semantic.DeepEqual(x.APIVersions, y.APIVersions) || !equality.Semantic.DeepEqual(x.Resources, y.Resources) ||
			!equality.Semantic.DeepEqual(x.Operations, y.Operations) || x.Scope != nil && *x.Scope != admissionv1.AllScopes {
			return false
		}
	}
	return true
}

// selects reports whether a selector leaves anything out.
func selects(s *metav1.LabelSelector) bool {
	return s != nil && (len(s.MatchLabels) > 0 || len(s.MatchExpressions) > 0)
}
