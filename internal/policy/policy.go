// Package policy holds admission policies of a cluster against those that podid
// ships. It takes values and asks nobody.
package policy

import (
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Difference is the field by which a policy asks something else, or of other
// requests, than the shipped one; empty for none. What the API server puts in by
// default makes none.
func Difference(shipped, there *admissionv1.ValidatingAdmissionPolicy) string {
	x, y := &there.Spec, &shipped.Spec
	for _, f := range []struct {
		name string
		same bool
	}{
		{"failurePolicy", or(x.FailurePolicy, admissionv1.Fail) == or(y.FailurePolicy, admissionv1.Fail)},
		{"paramKind", equality.Semantic.DeepEqual(x.ParamKind, y.ParamKind)},
		{"matchConditions", equality.Semantic.DeepEqual(x.MatchConditions, y.MatchConditions)},
		{"variables", equality.Semantic.DeepEqual(x.Variables, y.Variables)},
		{"validations", equality.Semantic.DeepEqual(x.Validations, y.Validations)},
	} {
		if !f.same {
			return "spec." + f.name
		}
	}
	if where := scope(x.MatchConstraints, y.MatchConstraints); where != "" {
		return "spec.matchConstraints" + where
	}
	return ""
}

// BindingDifference is how a binding puts a policy in force otherwise than the
// shipped one does; empty for none. One that denies more than the shipped one is
// another, and one that tells of refusals to more is not.
func BindingDifference(shipped, there *admissionv1.ValidatingAdmissionPolicyBinding) string {
	x, y := &there.Spec, &shipped.Spec
	lacks := slices.ContainsFunc(y.ValidationActions, func(a admissionv1.ValidationAction) bool { return !slices.Contains(x.ValidationActions, a) })
	denies := slices.Contains(x.ValidationActions, admissionv1.Deny) != slices.Contains(y.ValidationActions, admissionv1.Deny)
	switch {
	case lacks || denies:
		return fmt.Sprintf("spec.validationActions is %v, and %v is shipped", x.ValidationActions, y.ValidationActions)
	case !equality.Semantic.DeepEqual(x.ParamRef, y.ParamRef):
		return "spec.paramRef is another than is shipped"
	}
	if where := scope(x.MatchResources, y.MatchResources); where != "" {
		return "spec.matchResources" + where + " leaves requests out"
	}
	return ""
}

// scope is where two choices of requests differ, below their own field.
func scope(x, y *admissionv1.MatchResources) string {
	if x == nil {
		x = &admissionv1.MatchResources{}
	}
	if y == nil {
		y = &admissionv1.MatchResources{}
	}
	switch {
	case or(x.MatchPolicy, admissionv1.Equivalent) != or(y.MatchPolicy, admissionv1.Equivalent):
		return ".matchPolicy"
	case !sameSelector(x.NamespaceSelector, y.NamespaceSelector):
		return ".namespaceSelector"
	case !sameSelector(x.ObjectSelector, y.ObjectSelector):
		return ".objectSelector"
	case !slices.EqualFunc(x.ResourceRules, y.ResourceRules, sameRule):
		return ".resourceRules"
	case !slices.EqualFunc(x.ExcludeResourceRules, y.ExcludeResourceRules, sameRule):
		return ".excludeResourceRules"
	default:
		return ""
	}
}

func sameRule(x, y admissionv1.NamedRuleWithOperations) bool {
	if or(x.Scope, admissionv1.AllScopes) != or(y.Scope, admissionv1.AllScopes) {
		return false
	}
	x.Scope, y.Scope = nil, nil
	return equality.Semantic.DeepEqual(x, y)
}

// sameSelector takes none for one that selects everything.
func sameSelector(x, y *metav1.LabelSelector) bool {
	return equality.Semantic.DeepEqual(or(x, metav1.LabelSelector{}), or(y, metav1.LabelSelector{}))
}

// or is a value, or what stands where there is none.
func or[T any](v *T, none T) T {
	if v == nil {
		return none
	}
	return *v
}
