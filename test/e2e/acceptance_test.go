package e2e_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"software.sslmate.com/src/go-pkcs12"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/cli/demo"
)

// Ids of the manifests.
const (
	subscription    = "/subscriptions/11111111-1111-1111-1111-111111111111"
	homeTenant      = "44444444-4444-4444-4444-444444444444"
	auxiliaryTenant = "55555555-5555-5555-5555-555555555555"
	managedClient   = "33333333-3333-3333-3333-333333333333"
	secretClient    = "66666666-6666-6666-6666-666666666666"
	certClient      = "77777777-7777-7777-7777-777777777777"
)

// identityID is the id of a managed identity.
func identityID(group, name string) string {
	return subscription + "/resourceGroups/" + group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + name
}

// acceptOldSpelling: works as it is, and the objects say what is out of date.
func acceptOldSpelling(t *testing.T, w *demo.World) {
	t.Helper()
	const client = "22222222-2222-2222-2222-222222222222"
	merge(t, w, azemu.State{Identities: []azemu.Identity{{ID: identityID("myresourcegroup", "blob-reader"), ClientID: client}}})
	for _, pod := range apply(t, w, "01-capitalised.yaml") {
		wantOwner(t, run(t, w, pod), "", client)
	}
	for _, o := range []struct {
		kind, name, condition, status string
		says                          []string
	}{
		{"AzureIdentity", "blob-reader", v1.ConditionDeprecatedSpelling, "True", []string{"spec.resourceID", "spec.clientID"}},
		{"AzureIdentityBinding", "myapp-azure-identity-binding", v1.ConditionDeprecatedSpelling, "True", []string{"spec.azureIdentity", "spec.selector"}},
		{"AzurePodIdentityException", "aad-identity-exception", v1.ConditionDeprecatedSpelling, "True", []string{"spec.podLabels"}},
		{"AzurePodIdentityException", "aad-identity-exception", v1.ConditionEffective, "False", []string{"default"}},
	} {
		t.Run(o.kind+" "+o.condition, func(t *testing.T) {
			eventually(t, time.Minute, func() error { return conditionSays(t, w, o.kind, o.name, o.condition, o.status, o.says) })
		})
	}
	excepted := run(t, w, newPod(w, "default", "excepted", map[string]string{"noaad": "true"}))
	if got, err := owner(t, excepted, "&client_id="+micClient); err == nil {
		t.Errorf("a pod of an exception outside of the allowed namespaces gets a token of %s", got.ClientID)
	}
}

// conditionSays checks a condition of an object in namespace default.
func conditionSays(t *testing.T, w *demo.World, kind, name, condition, status string, says []string) error {
	t.Helper()
	o := &unstructured.Unstructured{}
	o.SetAPIVersion(v1.GroupVersion.String())
	o.SetKind(kind)
	if err := w.Client.Get(t.Context(), types.NamespacedName{Namespace: "default", Name: name}, o); err != nil {
		return err
	}
	list, _, err := unstructured.NestedSlice(o.Object, "status", "conditions")
	if err != nil {
		return err
	}
	for _, c := range list {
		c, ok := c.(map[string]any)
		if !ok || c["type"] != condition {
			continue
		}
		message := fmt.Sprint(c["message"])
		if c["status"] != status {
			return fmt.Errorf("condition %s is %v: %s", condition, c["status"], message)
		}
		for _, s := range says {
			if !strings.Contains(message, s) {
				return fmt.Errorf("condition %s says %q, want it to name %s", condition, message, s)
			}
		}
		return nil
	}
	return fmt.Errorf("%s %s has no condition %s", kind, name, condition)
}

// acceptTypes: a managed identity and both kinds of applications.
func acceptTypes(t *testing.T, w *demo.World) {
	t.Helper()
	needNamespace(t, w, "mymsi")
	certificate, pfx := newPKCS12(t, "open sesame")
	merge(t, w, azemu.State{
		Tenants:    []string{auxiliaryTenant},
		Identities: []azemu.Identity{{ID: identityID("rg", "mymsi"), ClientID: managedClient}},
		Apps: []azemu.App{
			{ClientID: secretClient, Secrets: []string{"not-a-secret"}, Tenants: []string{homeTenant, auxiliaryTenant}},
			{ClientID: certClient, Certificates: []string{certificate}, Tenants: []string{homeTenant}},
		},
	})
	pods := apply(t, w, "02-current.yaml")
	if err := w.Client.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "mymsi", Name: "sp-cert"},
		Data:       map[string][]byte{"certificate": pfx, "password": []byte("open sesame")},
	}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sp", "sp-cert"} {
		if err := w.Client.Create(t.Context(), &v1.AzureIdentityBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: "mymsi", Name: name},
			Spec:       v1.AzureIdentityBindingSpec{AzureIdentity: name, Selector: name},
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, pod := range pods {
		wantOwner(t, run(t, w, pod), "&client_id="+managedClient, managedClient)
	}
	secret := run(t, w, newPod(w, "mymsi", "sp", map[string]string{v1.LabelBinding: "sp"}))
	cert := run(t, w, newPod(w, "mymsi", "sp-cert", map[string]string{v1.LabelBinding: "sp-cert"}))
	for name, tc := range map[string]struct {
		got  func() (bearer, error)
		want bearer
	}{
		"a secret":                     {func() (bearer, error) { return owner(t, secret, "") }, bearer{secretClient, homeTenant, "https://vault.azure.net"}},
		"a secret, the other tenant":   {func() (bearer, error) { return owner(t, secret, "&tenant_id="+auxiliaryTenant) }, bearer{secretClient, auxiliaryTenant, "https://vault.azure.net"}},
		"a secret, the primary tenant": {func() (bearer, error) { return owner(t, secret, "&tenant_id="+homeTenant) }, bearer{secretClient, homeTenant, "https://vault.azure.net"}},
		"a certificate in a PKCS#12":   {func() (bearer, error) { return owner(t, cert, "") }, bearer{certClient, homeTenant, "https://vault.azure.net"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := tc.got(); err != nil || got != tc.want {
				t.Errorf("got a token of %+v (%v), want %+v", got, err, tc.want)
			}
		})
	}
	t.Run("a tenant that the identity does not name", func(t *testing.T) {
		if got, err := owner(t, secret, "&tenant_id=99999999-0000-0000-0000-000000000000"); err == nil || !strings.Contains(err.Error(), "400") {
			t.Errorf("got a token of %+v (%v), want a refusal", got, err)
		}
	})
}

// newPKCS12 makes a certificate, in PEM, and the PKCS#12 with its key.
func newPKCS12(t *testing.T, password string) (certificate string, pfx []byte) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if pfx, err = pkcs12.Modern.Encode(key, parsed, nil, password); err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), pfx
}

// acceptNamespaceAnnotation: every pod without a label of its own is bound
// through the binding that the namespace names.
func acceptNamespaceAnnotation(t *testing.T, w *demo.World) {
	t.Helper()
	const client = "cccccccc-0000-0000-0000-000000000003"
	id := identityID("rg", "team-a")
	merge(t, w, azemu.State{Identities: []azemu.Identity{{ID: id, ClientID: client}}})
	apply(t, w, "03-namespace-annotation.yaml")
	if err := w.Client.Create(t.Context(), &v1.AzureIdentity{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "team-a-identity"},
		Spec:       v1.AzureIdentitySpec{ResourceID: id, ClientID: client},
	}); err != nil {
		t.Fatal(err)
	}
	unlabelled := run(t, w, newPod(w, "team-a", "unlabelled", nil))
	awaitOwner(t, unlabelled, "", client) // the namespace is as young as the pod
	wantOwner(t, run(t, w, newPod(w, "team-a", "labelled", map[string]string{v1.LabelBinding: "team-a"})), "", client)
	other := run(t, w, newPod(w, "team-a", "other", map[string]string{v1.LabelBinding: "something-else"}))
	if got, err := owner(t, other, ""); err == nil {
		t.Errorf("a pod with a label of its own gets a token of %s", got.ClientID)
	}
	outside := run(t, w, newPod(w, "default", "no-annotation", nil))
	if got, err := owner(t, outside, ""); err == nil {
		t.Errorf("a pod of another namespace gets a token of %s", got.ClientID)
	}
}

// acceptException: the add-ons of the platform reach the metadata service as the
// node does, and nobody else by the same label.
func acceptException(t *testing.T, w *demo.World) {
	t.Helper()
	apply(t, w, "04-addon-exception.yaml")
	labels := map[string]string{"kubernetes.azure.com/managedby": "aks"}
	addOn := run(t, w, newPod(w, metav1.NamespaceSystem, "add-on", labels))
	// The node's identities, by every selector: mic's own is on it from the start.
	for _, selector := range []string{"client_id=" + micClient, "mi_res_id=" + identityID("podid-demo", "podid-mic")} {
		awaitOwner(t, addOn, "&"+selector, micClient) // the exception is as young as the pod
	}
	imitator := run(t, w, newPod(w, "default", "imitator", labels))
	status, body, err := fetch(t.Context(), imitator.DialContext, tokenURL+"&client_id="+micClient)
	if err != nil || status != http.StatusBadRequest || !strings.Contains(body, "Identity not found") {
		t.Errorf("the same label in another namespace is answered %d %s (%v), want a refusal", status, withoutToken(body), err)
	}
}
