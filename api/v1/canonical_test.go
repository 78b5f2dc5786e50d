package v1_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	v1 "github.com/podid-io/podid/api/v1"
)

func TestCanonicalFoldsOldSpellings(t *testing.T) {
	const old = `
Type: 1
ResourceID: /r
ClientID: c
ClientPassword: {Name: secret, Namespace: ns}
TenantID: t
AuxiliaryTenantIDs: [x]
ADResourceID: ad
ADEndpoint: https://login
`
	var got v1.AzureIdentitySpec
	if err := yaml.UnmarshalStrict([]byte(old), &got); err != nil {
		t.Fatal(err)
	}
	want := v1.AzureIdentitySpec{
		Type: new(v1.ServicePrincipal), ResourceID: "/r", ClientID: "c",
		ClientPassword: &v1.SecretReference{Name: "secret", Namespace: "ns"},
		TenantID:       "t", AuxiliaryTenantIDs: []string{"x"}, ADResourceID: "ad", ADEndpoint: "https://login",
	}
	if diff := cmp.Diff(want, got.Canonical()); diff != "" {
		t.Errorf("Canonical() (-want +got):\n%s", diff)
	}
	if n := len(got.DeprecatedFields()); n != 10 {
		t.Errorf("DeprecatedFields() names %d fields, want 10: %v", n, got.DeprecatedFields())
	}
	if left := got.Canonical().DeprecatedFields(); left != nil {
		t.Errorf("a canonical spec still uses %v", left)
	}
}

func TestCanonicalBindingAndException(t *testing.T) {
	b := v1.AzureIdentityBindingSpec{OldAzureIdentity: "id", OldSelector: "web", OldWeight: 3}
	if diff := cmp.Diff(v1.AzureIdentityBindingSpec{AzureIdentity: "id", Selector: "web", Weight: 3}, b.Canonical()); diff != "" {
		t.Errorf("Canonical() (-want +got):\n%s", diff)
	}
	e := v1.AzurePodIdentityExceptionSpec{OldPodLabels: map[string]v1.LabelValue{"a": "b"}}
	if diff := cmp.Diff(v1.AzurePodIdentityExceptionSpec{PodLabels: map[string]v1.LabelValue{"a": "b"}}, e.Canonical()); diff != "" {
		t.Errorf("Canonical() (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]v1.Spelling{{Old: "spec.PodLabels", New: "spec.podLabels"}}, e.DeprecatedFields()); diff != "" {
		t.Errorf("DeprecatedFields() (-want +got):\n%s", diff)
	}
}

func TestNodeLabelIsALabel(t *testing.T) {
	long := strings.Repeat("node-", 20)
	for _, node := range []string{"aks-pool-1", long, long + "x"} {
		if l := v1.NodeLabel(node); len(l) > 63 {
			t.Errorf("NodeLabel(%s) has %d characters", node, len(l))
		}
	}
	if v1.NodeLabel(long) == v1.NodeLabel(long+"x") {
		t.Error("two nodes have one label")
	}
	if v1.NodeLabel("aks-pool-1") != "aks-pool-1" {
		t.Error("a short name is not kept")
	}
}
