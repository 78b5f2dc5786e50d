package chart_test

import (
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	v1 "github.com/podid-io/podid/api/v1"
)

const crdName = "azureidentities.aadpodidentity.k8s.io"

// identity is an identity and its binding, as values.
const identity = "azureIdentities.reader.clientID=00000000-0000-0000-0000-000000000001," +
	"azureIdentities.reader.resourceID=/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/a," +
	"azureIdentities.reader.binding.selector=reader"

// on runs helm on the cluster.
func (c cluster) on(t *testing.T, args ...string) string {
	t.Helper()
	out, err := helmAt(t, c.home, append(args, "--kubeconfig", c.Kubeconfig())...)
	if err != nil {
		t.Fatalf("helm %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// spoil takes a printed column out of a definition that is there.
func (c cluster) spoil(t *testing.T) {
	t.Helper()
	crd := c.crd(t)
	crd.Spec.Versions[0].AdditionalPrinterColumns = nil
	if err := c.client.Update(t.Context(), crd); err != nil {
		t.Fatal(err)
	}
}

func (c cluster) crd(t *testing.T) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	var crd apiextensionsv1.CustomResourceDefinition
	if err := c.client.Get(t.Context(), client.ObjectKey{Name: crdName}, &crd); err != nil {
		t.Fatal(err)
	}
	return &crd
}

func TestInstallUpgradeUninstall(t *testing.T) {
	t.Parallel()
	c := apiServer(t)
	out := c.on(t, "install", "podid", chart, "-n", "podid-system", "--create-namespace", "--set", identity)
	if strings.Contains(out, "kubectl annotate") {
		t.Errorf("the definitions are said not to be this release's:\n%s", out)
	}
	var binding v1.AzureIdentityBinding
	if err := c.client.Get(t.Context(), client.ObjectKey{Namespace: "podid-system", Name: "reader-binding"}, &binding); err != nil {
		t.Error(err)
	}

	c.spoil(t)
	c.on(t, "upgrade", "podid", chart, "-n", "podid-system", "--set", identity+",crds.upgrade=false")
	if len(c.crd(t).Spec.Versions[0].AdditionalPrinterColumns) > 0 {
		t.Error("the definition is upgraded against crds.upgrade")
	}
	c.on(t, "upgrade", "podid", chart, "-n", "podid-system", "--set", identity)
	if len(c.crd(t).Spec.Versions[0].AdditionalPrinterColumns) == 0 {
		t.Error("the definition is not upgraded")
	}

	c.on(t, "upgrade", "podid", chart, "-n", "podid-system", "--set", identity+",crds.upgrade=false")
	c.on(t, "uninstall", "podid", "-n", "podid-system", "--no-hooks") // no node runs the hook here
	c.crd(t)
	var accounts corev1.ServiceAccountList
	if err := c.client.List(t.Context(), &accounts, client.MatchingLabels{"app.kubernetes.io/name": "podid"}); err != nil || len(accounts.Items) > 0 {
		t.Errorf("%d service accounts are left, %v", len(accounts.Items), err)
	}
	if err := c.client.Get(t.Context(), client.ObjectKeyFromObject(&binding), &binding); client.IgnoreNotFound(err) != nil || err == nil {
		t.Errorf("the binding of the release: %v, want that it is gone", err)
	}

	t.Run("a release of another name is told how to upgrade the definitions", func(t *testing.T) {
		out := c.on(t, "install", "azid", chart, "-n", "elsewhere", "--create-namespace")
		if !strings.Contains(out, "kubectl annotate --overwrite crd") {
			t.Errorf("said:\n%s", out)
		}
		c.spoil(t)
		c.on(t, "upgrade", "azid", chart, "-n", "elsewhere")
		if len(c.crd(t).Spec.Versions[0].AdditionalPrinterColumns) > 0 {
			t.Error("the definition of another release is upgraded")
		}
		c.on(t, "uninstall", "azid", "-n", "elsewhere", "--no-hooks")
	})
	t.Run("who is compatible is told what that opens", func(t *testing.T) {
		for set, want := range map[string]bool{"compatibility=aad-pod-identity": true, "compatibility=aad-pod-identity,rbac.allowAccessToSecrets=false,policies.define=true": false} {
			out := c.on(t, "install", "old", chart, "-n", "elsewhere", "--dry-run=server", "--set", set)
			for _, words := range []string{"nmi reads the Secrets of all namespaces", "defines one of any id"} {
				if strings.Contains(out, words) != want {
					t.Errorf("--set %s: %q is said: %t\n%s", set, words, !want, out)
				}
			}
		}
	})
	t.Run("who names hosts that the policy does not know is told so", func(t *testing.T) {
		for set, want := range map[string]bool{"nmi.authorityHosts={login.example.com}": true, "nmi.authorityHosts={login.example.com},policies.authority=false": false, "": false} {
			out := c.on(t, "install", "old", chart, "-n", "elsewhere", "--dry-run=server", "--set", set)
			if strings.Contains(out, "with policies.authority=false nmi alone looks at the hosts") != want {
				t.Errorf("--set %s: it is said: %t\n%s", set, !want, out)
			}
		}
	})
	t.Run("definitions of AAD Pod Identity are not taken for podid's", func(t *testing.T) {
		crd := c.crd(t)
		crd.Spec.Names.Categories = nil
		if err := c.client.Update(t.Context(), crd); err != nil {
			t.Fatal(err)
		}
		_, err := helm(t, "install", "podid", chart, "-n", "podid-system", "--kubeconfig", c.Kubeconfig())
		if err == nil || !strings.Contains(err.Error(), "is AAD Pod Identity's, and Helm does not replace it: run kubectl apply --server-side --force-conflicts -f deploy/crds.yaml first") {
			t.Errorf("install: %v", err)
		}
	})
}

// TestDefinitionsAreTheSame holds the chart's definitions against config/crd: they
// differ in whom they belong to.
func TestDefinitionsAreTheSame(t *testing.T) {
	read := func(file string) (crd apiextensionsv1.CustomResourceDefinition) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(text, &crd); err != nil {
			t.Fatal(err)
		}
		return crd
	}
	entries, err := os.ReadDir(root + "/config/crd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		want, got := read(root+"/config/crd/"+e.Name()), read(chart+"/crds/"+e.Name())
		if !equal(want.Spec, got.Spec) {
			t.Errorf("%s: run make generate", e.Name())
		}
		if got.Annotations["meta.helm.sh/release-name"] != "podid" || got.Labels["app.kubernetes.io/managed-by"] != "Helm" {
			t.Errorf("%s belongs to nobody: %v %v", e.Name(), got.Annotations, got.Labels)
		}
	}
}
