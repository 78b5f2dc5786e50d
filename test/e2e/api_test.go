package e2e_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	v1 "github.com/podid-io/podid/api/v1"
)

const resourceID = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id"

// parse reads one object of the API.
func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		t.Fatal(err)
	}
	return o
}

// application is the spec of a service principal with more fields.
func application(more string) string {
	return "{type: 1, clientID: c, clientPassword: {name: secret}, " + more + "}"
}

func TestAPIServerTakesAndRefuses(t *testing.T) {
	_, c := apiServer(t)
	tests := map[string]struct {
		kind, spec string
		want       string // in the refusal; empty: taken
	}{
		"a managed identity":                        {"AzureIdentity", "{resourceID: " + resourceID + ", clientID: c}", ""},
		"one by client id alone":                    {"AzureIdentity", "{clientID: c}", ""},
		"one by resource id alone, any case":        {"AzureIdentity", "{type: 0, resourceID: " + strings.ToUpper(resourceID) + "}", ""},
		"the old spelling":                          {"AzureIdentity", "{ResourceID: " + resourceID + ", ClientID: c}", ""},
		"both spellings that agree":                 {"AzureIdentity", "{ResourceID: " + resourceID + ", resourceID: " + resourceID + "}", ""},
		"a service principal":                       {"AzureIdentity", "{type: 1, clientID: c, tenantID: contoso.com, clientPassword: {name: secret, namespace: ns}}", ""},
		"one in the old spelling":                   {"AzureIdentity", "{Type: 2, ClientID: c, TenantID: contoso.com, ClientPassword: {Name: secret, Namespace: ns}}", ""},
		"fields that nobody reads":                  {"AzureIdentity", "{clientID: c, replicas: null, adResourceID: x, metadata: {}}", ""},
		"lists of who may use it":                   {"AzureIdentity", "{clientID: c, allowedServiceAccounts: [web, team/web.x], allowedNamespaces: [team]}", ""},
		"a list that is empty":                      {"AzureIdentity", "{clientID: c, allowedServiceAccounts: []}", "spec.allowedServiceAccounts is no list of service accounts"},
		"a list with a pattern":                     {"AzureIdentity", "{clientID: c, allowedServiceAccounts: ['*']}", "spec.allowedServiceAccounts is no list of service accounts"},
		"a list with a pattern for the name":        {"AzureIdentity", "{clientID: c, allowedServiceAccounts: [team/*]}", "spec.allowedServiceAccounts is no list of service accounts"},
		"a list with a user's name":                 {"AzureIdentity", "{clientID: c, allowedServiceAccounts: ['system:serviceaccount:team:web']}", "spec.allowedServiceAccounts is no list of service accounts"},
		"a list with nobody":                        {"AzureIdentity", "{clientID: c, allowedServiceAccounts: ['']}", "spec.allowedServiceAccounts is no list of service accounts"},
		"a list of namespaces that is empty":        {"AzureIdentity", "{clientID: c, allowedNamespaces: []}", "spec.allowedNamespaces is no list of namespaces"},
		"a list of all namespaces":                  {"AzureIdentity", "{clientID: c, allowedNamespaces: ['*']}", "spec.allowedNamespaces is no list of namespaces"},
		"a binding that narrows":                    {"AzureIdentityBinding", "{azureIdentity: a, selector: web, allowedServiceAccounts: [web], allowedNamespaces: [team]}", ""},
		"a binding with an empty list":              {"AzureIdentityBinding", "{azureIdentity: a, selector: web, allowedServiceAccounts: []}", "spec.allowedServiceAccounts is no list of service accounts"},
		"spellings that differ":                     {"AzureIdentity", "{resourceID: " + resourceID + ", clientID: a, ClientID: b}", "spec.clientID and spec.ClientID differ"},
		"spellings of the type that differ":         {"AzureIdentity", "{type: 0, Type: 1, clientID: a}", "spec.type and spec.Type differ"},
		"nothing":                                   {"AzureIdentity", "{type: 0}", "names no managed identity: set spec.resourceID"},
		"an empty resource id":                      {"AzureIdentity", `{resourceID: ""}`, "names no managed identity"},
		"a resource id that is none":                {"AzureIdentity", "{resourceID: my-identity}", "is not the id of a user-assigned managed identity: write /subscriptions/"},
		"an old resource id that is none":           {"AzureIdentity", "{ResourceID: invalidresid}", "is not the id of a user-assigned managed identity"},
		"the id of something else":                  {"AzureIdentity", "{resourceID: /subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/v}", "is not the id of a user-assigned managed identity"},
		"an id with something behind it":            {"AzureIdentity", "{resourceID: " + resourceID + "/x}", "is not the id of a user-assigned managed identity"},
		"an id that a shell runs":                   {"AzureIdentity", "{resourceID: " + resourceID + "$(id)}", "is not the id of a user-assigned managed identity"},
		"a name with a dot":                         {"AzureIdentity", "{resourceID: " + resourceID + ".x}", "is not the id of a user-assigned managed identity"},
		"a group that a shell runs":                 {"AzureIdentity", "{resourceID: '/subscriptions/s/resourceGroups/`id`/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i'}", "is not the id of a user-assigned managed identity"},
		"a group above":                             {"AzureIdentity", "{resourceID: /subscriptions/s/resourceGroups/../providers/Microsoft.ManagedIdentity/userAssignedIdentities/i}", "is not the id of a user-assigned managed identity"},
		"all that Azure lets names have":            {"AzureIdentity", "{resourceID: '/subscriptions/0-a/resourceGroups/-(Gruppe).ä_1/providers/Microsoft.ManagedIdentity/userAssignedIdentities/A_b-3'}", ""},
		"an unknown type":                           {"AzureIdentity", "{type: 7, clientID: c}", "spec.type is unknown: write 0"},
		"a service principal without a secret":      {"AzureIdentity", "{type: 1, clientID: c, tenantID: contoso.com}", "needs spec.clientPassword: write {name: SECRET"},
		"a service principal without a secret name": {"AzureIdentity", "{type: 1, clientID: c, tenantID: contoso.com, clientPassword: {namespace: ns}}", "set clientPassword.name"},
		"a service principal without a tenant":      {"AzureIdentity", "{type: 1, clientID: c, clientPassword: {name: secret}}", "needs spec.tenantID"},
		"a service principal without a client id":   {"AzureIdentity", "{type: 2, tenantID: contoso.com, clientPassword: {name: secret}}", "needs spec.clientID"},
		"a secret's name in two spellings":          {"AzureIdentity", "{type: 1, clientID: c, tenantID: contoso.com, clientPassword: {name: a, Name: b}}", "clientPassword.name and clientPassword.Name differ"},
		"a secret's namespace in two spellings":     {"AzureIdentity", "{type: 1, clientID: c, tenantID: contoso.com, clientPassword: {name: a, namespace: b, Namespace: c}}", "clientPassword.namespace and clientPassword.Namespace differ"},
		"a tenant that is none":                     {"AzureIdentity", application("tenantID: common"), "spec.tenantID is no tenant: write its GUID"},
		"a path for a tenant":                       {"AzureIdentity", application("tenantID: contoso.com/x"), "spec.tenantID is no tenant"},
		"an old tenant that is none":                {"AzureIdentity", application("TenantID: ../evil"), "spec.tenantID is no tenant"},
		"a tenant by GUID, any case":                {"AzureIdentity", application("tenantID: AAAAAAAA-0000-0000-0000-00000000000F"), ""},
		"a tenant that nobody reads":                {"AzureIdentity", "{clientID: c, tenantID: anything, adEndpoint: anything}", ""},
		"auxiliary tenants":                         {"AzureIdentity", application("tenantID: contoso.com, auxiliaryTenantIDs: [a.example, AAAAAAAA-0000-0000-0000-00000000000F]"), ""},
		"auxiliary tenants that are null":           {"AzureIdentity", application("tenantID: contoso.com, auxiliaryTenantIDs: null"), ""},
		"an auxiliary tenant that is none":          {"AzureIdentity", application("tenantID: contoso.com, auxiliaryTenantIDs: [a.example, common]"), "spec.auxiliaryTenantIDs has one that is no tenant"},
		"an old auxiliary tenant that is none":      {"AzureIdentity", application("tenantID: contoso.com, AuxiliaryTenantIDs: [a/b]"), "spec.auxiliaryTenantIDs has one that is no tenant"},
		"too many auxiliary tenants":                {"AzureIdentity", application("tenantID: contoso.com, auxiliaryTenantIDs: [a.a, b.b, c.c, d.d]"), "write at most 3"},
		"an authority":                              {"AzureIdentity", application("tenantID: contoso.com, adEndpoint: 'https://Login.MicrosoftOnline.us/'"), ""},
		"an authority with a port":                  {"AzureIdentity", application("tenantID: contoso.com, adEndpoint: 'https://login.corp.example:8443'"), ""},
		"an empty authority":                        {"AzureIdentity", application("tenantID: contoso.com, adEndpoint: ''"), ""},
		"an authority without encryption":           {"AzureIdentity", application("tenantID: contoso.com, adEndpoint: 'http://login.microsoftonline.com'"), "spec.adEndpoint is no Entra host: write https"},
		"an authority with a user":                  {"AzureIdentity", application("tenantID: contoso.com, adEndpoint: 'https://login.microsoftonline.com@evil.example'"), "spec.adEndpoint is no Entra host"},
		"an authority with a path":                  {"AzureIdentity", application("tenantID: contoso.com, adEndpoint: 'https://login.microsoftonline.com/x'"), "spec.adEndpoint is no Entra host"},
		"an old authority with a query":             {"AzureIdentity", application("tenantID: contoso.com, ADEndpoint: 'https://login.microsoftonline.com?x'"), "spec.adEndpoint is no Entra host"},
		"a binding":                                 {"AzureIdentityBinding", "{azureIdentity: id, selector: web}", ""},
		"a binding in the old spelling":             {"AzureIdentityBinding", "{AzureIdentity: id, Selector: web, Weight: 3}", ""},
		"a binding for a namespace's annotation":    {"AzureIdentityBinding", "{azureIdentity: id}", ""},
		"a binding of nothing":                      {"AzureIdentityBinding", "{selector: web}", "write the name of an AzureIdentity of this namespace"},
		"a selector that can be no label":           {"AzureIdentityBinding", `{azureIdentity: id, selector: "app=web"}`, "can never equal a label"},
		"selectors that differ":                     {"AzureIdentityBinding", "{azureIdentity: id, selector: a, Selector: b}", "spec.selector and spec.Selector differ"},
		"an exception":                              {"AzurePodIdentityException", "{podLabels: {a: b}}", ""},
		"an exception in the old spelling":          {"AzurePodIdentityException", `{PodLabels: {noaad: "true"}}`, ""},
		"exceptions that differ":                    {"AzurePodIdentityException", "{podLabels: {a: b}, PodLabels: {a: c}}", "spec.podLabels and spec.PodLabels differ"},
		"an assigned identity of AAD Pod Identity":  {"AzureAssignedIdentity", "{pod: p, podNamespace: ns, nodename: node-1, azureIdentityRef: {apiVersion: aadpodidentity.k8s.io/v1, kind: AzureIdentity, metadata: {name: id}, spec: {type: 9}}}", ""},
	}
	i := 0
	for name, tc := range tests {
		i++
		o := parse(t, fmt.Sprintf("{apiVersion: aadpodidentity.k8s.io/v1, kind: %s, metadata: {name: case-%d, namespace: default}, spec: %s}", tc.kind, i, tc.spec))
		t.Run(name, func(t *testing.T) {
			err := c.Create(t.Context(), o)
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.want != "" && (!apierrors.IsInvalid(err) || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("Create() = %v, want a refusal that says %q", err, tc.want)
			}
		})
	}
}

// TestOldManifestsKeepEveryField applies manifests as users have had them for
// years and reads them back through the accessors.
func TestOldManifestsKeepEveryField(t *testing.T) {
	_, c := apiServer(t)
	text, err := os.ReadFile("testdata/capitalised.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for doc := range strings.SplitSeq(string(text), "\n---\n") {
		o := parse(t, doc)
		o.SetNamespace("default")
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	get := func(name string, o client.Object) {
		t.Helper()
		if err := c.Get(t.Context(), types.NamespacedName{Namespace: "default", Name: name}, o); err != nil {
			t.Fatal(err)
		}
	}
	var id v1.AzureIdentity
	get("storage", &id)
	want := v1.AzureIdentitySpec{
		Type:       new(v1.UserAssignedMSI),
		ResourceID: "/subscriptions/11111111-1111-1111-1111-111111111111/resourcegroups/storage/providers/Microsoft.ManagedIdentity/userAssignedIdentities/storage",
		ClientID:   "22222222-2222-2222-2222-222222222222",
	}
	if diff := cmp.Diff(want, id.Spec.Canonical()); diff != "" {
		t.Errorf("AzureIdentity (-want +got):\n%s", diff)
	}
	var b v1.AzureIdentityBinding
	get("storage-binding", &b)
	if diff := cmp.Diff(v1.AzureIdentityBindingSpec{AzureIdentity: "storage", Selector: "storage-app"}, b.Spec.Canonical()); diff != "" {
		t.Errorf("AzureIdentityBinding (-want +got):\n%s", diff)
	}
	var e v1.AzurePodIdentityException
	get("legacy", &e)
	if diff := cmp.Diff(map[string]v1.LabelValue{"legacy": "yes"}, e.Spec.Canonical().PodLabels); diff != "" {
		t.Errorf("AzurePodIdentityException (-want +got):\n%s", diff)
	}
}
