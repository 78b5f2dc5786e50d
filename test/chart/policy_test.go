package chart_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestPolicies(t *testing.T) {
	tests := map[string]struct {
		values string
		want   []string
	}{
		"by default":                    {"", []string{"authority", "use", "define", "secret-namespace"}},
		"across namespaces":             {"allowCrossNamespace=true", []string{"authority", "use", "define"}},
		"as it was":                     {"compatibility=aad-pod-identity", []string{"authority", "use"}},
		"as it was, each for itself":    {"compatibility=aad-pod-identity,forceNamespaced=true", []string{"authority", "use", "secret-namespace"}},
		"as it was, in managed mode":    {"compatibility=aad-pod-identity,operationMode=managed", []string{"authority", "use", "secret-namespace"}},
		"with a taint":                  {"startupTaint=podid.io/agent-not-ready", []string{"authority", "use", "define", "secret-namespace", "startup-taint"}},
		"asked for against a value":     {"allowCrossNamespace=true,policies.secretNamespace=true", []string{"authority", "use", "define", "secret-namespace"}},
		"without":                       {"policies.authority=false,policies.secretNamespace=false,policies.define=false,policies.use=false", nil},
		"asked for as a string is told": {"policies.authority=", []string{"authority", "use", "define", "secret-namespace"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := map[string]int{}
			for _, o := range rendered(t, "--set", tc.values) {
				if strings.HasPrefix(o.GetKind(), "ValidatingAdmissionPolicy") {
					got[strings.TrimPrefix(o.GetName(), "podid-")]++
				}
			}
			want := map[string]int{}
			for _, name := range tc.want {
				want[name] = 2 // with its binding
			}
			if !equal(want, got) {
				t.Errorf("policies %v, want %v", got, want)
			}
		})
	}
}

// TestEachPolicyHasASwitch holds the values against config/policy: a switch without
// a policy would be one that does nothing.
func TestEachPolicyHasASwitch(t *testing.T) {
	entries, err := os.ReadDir(root + "/config/policy")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(chart + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var values struct{ Policies map[string]any } // those of the schema too: TestValuesAndSchema
	if err := yaml.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		words := strings.Split(strings.TrimSuffix(e.Name(), ".yaml"), "-")
		for i, word := range words[1:] {
			words[i+1] = strings.ToUpper(word[:1]) + word[1:]
		}
		name := strings.Join(words, "")
		if _, ok := values.Policies[name]; !ok {
			t.Errorf("%s has no value policies.%s", e.Name(), name)
		}
		delete(values.Policies, name)
	}
	for name := range values.Policies {
		t.Errorf("policies.%s has no file in config/policy", name)
	}
}

func TestThePolicyOfTheTaintHoldsWhoeverPodidIs(t *testing.T) {
	list := rendered(t, "--set", "fullnameOverride=azid,startupTaint=podid.io/agent-not-ready")
	policy := fmt.Sprint(find(t, list, "ValidatingAdmissionPolicy", "podid-startup-taint").Object)
	for _, want := range []string{"azid-(mic|nmi)$", "endsWith(':azid-nmi')"} {
		if !strings.Contains(policy, want) {
			t.Errorf("no %q in %s", want, policy)
		}
	}
	if strings.Contains(policy, "podid-(mic|nmi)") || strings.Contains(policy, "':podid-nmi'") {
		t.Errorf("it holds service accounts that are not there: %s", policy)
	}
}
