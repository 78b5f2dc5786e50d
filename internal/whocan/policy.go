package whocan

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/podid-io/podid/internal/policy"
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
	denies := &admissionv1.ValidatingAdmissionPolicyBinding{}
	denies.Spec.ValidationActions = []admissionv1.ValidationAction{admissionv1.Deny}
	return policy.Difference(shipped, there) == "" && binding.Spec.PolicyName == there.Name && policy.BindingDifference(denies, binding) == ""
}
