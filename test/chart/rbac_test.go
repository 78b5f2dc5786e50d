package chart_test

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

func equal(a, b any) bool { return reflect.DeepEqual(a, b) }

// roles are the rules of all roles, by kind, namespace and name.
func roles(t *testing.T, list []*unstructured.Unstructured) map[string][]rbacv1.PolicyRule {
	t.Helper()
	found := map[string][]rbacv1.PolicyRule{}
	for _, o := range list {
		if o.GetKind() != "Role" && o.GetKind() != "ClusterRole" {
			continue
		}
		var role rbacv1.ClusterRole // its rules are those of a Role
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &role); err != nil {
			t.Fatal(err)
		}
		found[o.GetKind()+"/"+o.GetNamespace()+"/"+o.GetName()] = role.Rules
	}
	return found
}

// source are the roles in files of config/rbac, with which mic and nmi are tested.
func source(t *testing.T, files ...string) map[string][]rbacv1.PolicyRule {
	t.Helper()
	var list []*unstructured.Unstructured
	for _, file := range files {
		text, err := os.ReadFile(root + "/config/rbac/" + file)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, objects(t, string(text))...)
	}
	return roles(t, list)
}

func TestRolesAreThoseOfConfig(t *testing.T) {
	tests := map[string]struct {
		values string
		files  []string
	}{
		"standard":                         {"", []string{"definer.yaml", "mic.yaml", "nmi.yaml"}},
		"managed":                          {"operationMode=managed", []string{"definer.yaml", "nmi.yaml"}},
		"with Secrets":                     {"rbac.allowAccessToSecrets=true", []string{"definer.yaml", "mic.yaml", "nmi.yaml"}},
		"with the Secrets of one":          {"rbac.secretNamespaces={team-a}", []string{"definer.yaml", "mic.yaml", "nmi.yaml"}},
		"with a taint":                     {"startupTaint=podid.io/agent-not-ready", []string{"definer.yaml", "mic.yaml", "nmi.yaml", "startup-taint.yaml"}},
		"with a taint in managed mode":     {"startupTaint=podid.io/agent-not-ready,operationMode=managed", []string{"definer.yaml", "nmi.yaml", "startup-taint-managed.yaml"}},
		"by the defaults that there were":  {"compatibility=aad-pod-identity", []string{"definer.yaml", "mic.yaml", "nmi.yaml"}},
		"those defaults, without Secrets":  {"compatibility=aad-pod-identity,rbac.allowAccessToSecrets=false", []string{"definer.yaml", "mic.yaml", "nmi.yaml"}},
		"none":                             {"rbac.enabled=false", nil},
		"in a namespace that is mic's own": {"fullnameOverride=podid", []string{"definer.yaml", "mic.yaml", "nmi.yaml"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := roles(t, rendered(t, "--set", tc.values))
			delete(got, "Role/podid-system/podid-cleanup") // tested with the command
			delete(got, "ClusterRole//podid-test")
			want := source(t, tc.files...)
			if !equal(want, got) {
				t.Errorf("rules\nconfig: %v\nchart:  %v", want, got)
			}
		})
	}
}

func TestSecretsOfAllAreReadWhereAskedForAlone(t *testing.T) {
	bound := func(values string) bool {
		return slices.ContainsFunc(rendered(t, "--set", values), func(o *unstructured.Unstructured) bool {
			return o.GetKind() == "ClusterRoleBinding" && o.GetName() == "podid-nmi-secrets"
		})
	}
	for values, want := range map[string]bool{
		"": false, "rbac.secretNamespaces={team-a}": false, "rbac.allowAccessToSecrets=true": true, "compatibility=aad-pod-identity": true,
	} {
		if got := bound(values); got != want {
			t.Errorf("%q: cluster-wide Secrets %t, want %t", values, got, want)
		}
		find(t, rendered(t, "--set", values), "ClusterRole", "podid-nmi-secrets") // which nmi tells to bind
	}
}

func TestNoRoleIsWide(t *testing.T) {
	for name, values := range matrix(t) {
		for role, rules := range roles(t, rendered(t, "--values", values)) {
			for _, rule := range rules {
				for _, word := range slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs) {
					if word == "*" || word == "escalate" || word == "bind" || word == "impersonate" {
						t.Errorf("%s: %s has %q", name, role, word)
					}
				}
			}
		}
	}
}

func TestRolesOfPeople(t *testing.T) {
	list := rendered(t, "--set", "rbac.createUserFacingClusterRoles=true")
	for role, rules := range roles(t, list) {
		edit := strings.HasSuffix(role, "-edit")
		if !edit && !strings.HasSuffix(role, "-view") {
			continue
		}
		for _, rule := range rules {
			writes := slices.ContainsFunc(rule.Verbs, func(verb string) bool { return !slices.Contains([]string{"get", "list", "watch"}, verb) })
			if writes && (!edit || !slices.Equal(rule.Resources, []string{"azureidentitybindings"})) {
				t.Errorf("%s writes %v", role, rule.Resources)
			}
		}
	}
	if labels := find(t, list, "ClusterRole", "podid-edit").GetLabels(); labels["rbac.authorization.k8s.io/aggregate-to-view"] != "" {
		t.Errorf("view may write: %v", labels)
	}
}

// TestOneNamespaceForAll renders into the namespace that AAD Pod Identity has its
// lock in: the roles of both become one.
func TestOneNamespaceForAll(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range rendered(t, "--namespace", "default") {
		id := o.GetKind() + "/" + o.GetNamespace() + "/" + o.GetName()
		if seen[id] {
			t.Errorf("%s is there twice", id)
		}
		seen[id] = true
	}
}
