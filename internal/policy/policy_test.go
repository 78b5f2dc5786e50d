package policy_test

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podid-io/podid/internal/policy"
)

func shipped() *admissionv1.ValidatingAdmissionPolicy {
	var rule admissionv1.NamedRuleWithOperations
	rule.APIGroups, rule.APIVersions, rule.Resources = []string{"aadpodidentity.k8s.io"}, []string{"*"}, []string{"azureidentities"}
	rule.Operations = []admissionv1.OperationType{admissionv1.Create, admissionv1.Update}
	return &admissionv1.ValidatingAdmissionPolicy{Spec: admissionv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{rule}},
		Variables:        []admissionv1.Variable{{Name: "v", Expression: "1"}},
		Validations:      []admissionv1.Validation{{Expression: "variables.v == 1"}},
	}}
}

func TestDifference(t *testing.T) {
	all, fail, equivalent, exact, ignore, namespaced := admissionv1.AllScopes, admissionv1.Fail, admissionv1.Equivalent, admissionv1.Exact, admissionv1.Ignore, admissionv1.NamespacedScope
	some := &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
	tests := map[string]struct {
		edit func(*admissionv1.ValidatingAdmissionPolicySpec)
		want string
	}{
		"the same": {func(*admissionv1.ValidatingAdmissionPolicySpec) {}, ""},
		"with what the API server puts in": {func(s *admissionv1.ValidatingAdmissionPolicySpec) {
			s.FailurePolicy, s.MatchConstraints.MatchPolicy = &fail, &equivalent
			s.MatchConstraints.NamespaceSelector, s.MatchConstraints.ObjectSelector = &metav1.LabelSelector{}, &metav1.LabelSelector{}
			s.MatchConstraints.ResourceRules[0].Scope = &all
			s.MatchConditions = []admissionv1.MatchCondition{}
		}, ""},
		"one that lets pass what it cannot judge": {func(s *admissionv1.ValidatingAdmissionPolicySpec) { s.FailurePolicy = &ignore }, "spec.failurePolicy"},
		"with a condition of its own": {func(s *admissionv1.ValidatingAdmissionPolicySpec) {
			s.MatchConditions = []admissionv1.MatchCondition{{Name: "never"}}
		}, "spec.matchConditions"},
		"with another variable":   {func(s *admissionv1.ValidatingAdmissionPolicySpec) { s.Variables[0].Expression = "2" }, "spec.variables"},
		"without its validations": {func(s *admissionv1.ValidatingAdmissionPolicySpec) { s.Validations = nil }, "spec.validations"},
		"with parameters": {func(s *admissionv1.ValidatingAdmissionPolicySpec) {
			s.ParamKind = &admissionv1.ParamKind{Kind: "ConfigMap"}
		}, "spec.paramKind"},
		"for nothing":         {func(s *admissionv1.ValidatingAdmissionPolicySpec) { s.MatchConstraints = nil }, "spec.matchConstraints.resourceRules"},
		"for one version":     {func(s *admissionv1.ValidatingAdmissionPolicySpec) { s.MatchConstraints.MatchPolicy = &exact }, "spec.matchConstraints.matchPolicy"},
		"for some namespaces": {func(s *admissionv1.ValidatingAdmissionPolicySpec) { s.MatchConstraints.NamespaceSelector = some }, "spec.matchConstraints.namespaceSelector"},
		"for some objects":    {func(s *admissionv1.ValidatingAdmissionPolicySpec) { s.MatchConstraints.ObjectSelector = some }, "spec.matchConstraints.objectSelector"},
		"for some names": {func(s *admissionv1.ValidatingAdmissionPolicySpec) {
			s.MatchConstraints.ResourceRules[0].ResourceNames = []string{"a"}
		}, "spec.matchConstraints.resourceRules"},
		"for one scope": {func(s *admissionv1.ValidatingAdmissionPolicySpec) {
			s.MatchConstraints.ResourceRules[0].Scope = &namespaced
		}, "spec.matchConstraints.resourceRules"},
		"with exclusions": {func(s *admissionv1.ValidatingAdmissionPolicySpec) {
			s.MatchConstraints.ExcludeResourceRules = make([]admissionv1.NamedRuleWithOperations, 1)
		}, "spec.matchConstraints.excludeResourceRules"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			there := shipped()
			tc.edit(&there.Spec)
			if got := policy.Difference(shipped(), there); got != tc.want {
				t.Errorf("Difference() = %q, want %q", got, tc.want)
			}
		})
	}
}

func TestBindingDifference(t *testing.T) {
	type actions = []admissionv1.ValidationAction
	binding := func(a actions) *admissionv1.ValidatingAdmissionPolicyBinding {
		return &admissionv1.ValidatingAdmissionPolicyBinding{Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{ValidationActions: a}}
	}
	deny, tell := actions{admissionv1.Deny}, actions{admissionv1.Warn, admissionv1.Audit}
	for name, tc := range map[string]struct {
		shipped, there actions
		edit           func(*admissionv1.ValidatingAdmissionPolicyBindingSpec)
		want           string
	}{
		"the same":                  {shipped: deny, there: deny},
		"one that tells beside":     {shipped: deny, there: actions{admissionv1.Audit, admissionv1.Deny}},
		"one that audits alone":     {shipped: deny, there: actions{admissionv1.Audit}, want: "spec.validationActions is [Audit], and [Deny] is shipped"},
		"one that warns alone":      {shipped: deny, there: tell, want: "spec.validationActions"},
		"one that does not warn":    {shipped: tell, there: actions{admissionv1.Audit}, want: "spec.validationActions"},
		"one that denies what none": {shipped: tell, there: append(deny, tell...), want: "spec.validationActions"},
		"one of other parameters": {shipped: tell, there: tell, edit: func(s *admissionv1.ValidatingAdmissionPolicyBindingSpec) {
			s.ParamRef = &admissionv1.ParamRef{Name: "one"}
		}, want: "spec.paramRef"},
		"one of some namespaces": {shipped: deny, there: deny, edit: func(s *admissionv1.ValidatingAdmissionPolicyBindingSpec) {
			s.MatchResources = &admissionv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}}
		}, want: "spec.matchResources.namespaceSelector leaves requests out"},
		"one that selects everything": {shipped: deny, there: deny, edit: func(s *admissionv1.ValidatingAdmissionPolicyBindingSpec) {
			s.MatchResources = &admissionv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			there := binding(tc.there)
			if tc.edit != nil {
				tc.edit(&there.Spec)
			}
			if got := policy.BindingDifference(binding(tc.shipped), there); !strings.HasPrefix(got, tc.want) || tc.want == "" && got != "" {
				t.Errorf("BindingDifference() = %q, want %q", got, tc.want)
			}
		})
	}
}
