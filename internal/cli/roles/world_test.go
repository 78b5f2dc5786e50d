package roles_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/cli/exit"
	"github.com/podid-io/podid/internal/cli/roles"
	"github.com/podid-io/podid/internal/compute"
	"github.com/podid-io/podid/test/leaks"
)

const (
	subscription = "/subscriptions/11111111-1111-1111-1111-111111111111"
	nodeGroup    = subscription + "/resourceGroups/MC_group"
	appGroup     = subscription + "/resourceGroups/Apps"
	identities   = appGroup + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"
	setID        = nodeGroup + "/providers/Microsoft.Compute/virtualMachineScaleSets/pool"
	vmID         = nodeGroup + "/providers/Microsoft.Compute/virtualMachines/single"
	micID        = identities + "mic"
	micObject    = "22222222-2222-2222-2222-222222222222"
	micClient    = "22222222-2222-2222-2222-22222222222c"
	adminObject  = "33333333-3333-3333-3333-333333333333"
)

// world is an API server with three nodes and AzureIdentities of each type and
// spelling, and an Azure that enforces roles, with an administrator signed in.
type world struct {
	azure *azemu.Emulator
	url   string
	http  *http.Client
	env   map[string]string
}

// newWorld is for one test at a time: there is one API server.
func newWorld(t *testing.T, assignments ...azemu.RoleAssignment) *world {
	t.Helper()
	w := newAzure(t, assignments...)
	populate(t)
	return w
}

// newAzure is a world whose cluster is empty.
func newAzure(t *testing.T, assignments ...azemu.RoleAssignment) *world {
	t.Helper()
	leaks.Await(t)
	seed := azemu.State{
		Apps: []azemu.App{
			{ClientID: "admin", ObjectID: adminObject, Secrets: []string{"secret"}},
			{ClientID: "mic", ObjectID: micObject, Secrets: []string{"mic's secret"}},
		},
		Identities: []azemu.Identity{
			{ID: identities + "one"}, {ID: identities + "two"}, {ID: micID, ClientID: micClient, PrincipalID: micObject},
		},
		ScaleSets:       []azemu.ScaleSet{{ID: setID, Instances: []azemu.Instance{{InstanceID: "0", Name: "pool000000"}, {InstanceID: "1", Name: "pool000001"}}}},
		VMs:             []azemu.VM{{ID: vmID}},
		RoleAssignments: append(assignments, azemu.RoleAssignment{Scope: subscription, PrincipalID: adminObject, Role: "Owner"}),
	}
	e, err := azemu.New(azemu.Config{Seed: seed, EnforceRoles: true})
	must(t, err)
	t.Cleanup(e.Close)
	server := httptest.NewUnstartedServer(e.Azure())
	server.TLS = e.TLS()
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(e.CA())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	for k, v := range map[string]string{ // the SDK reads them itself
		"AZURE_TENANT_ID": azemu.DefaultTenant, "AZURE_CLIENT_ID": "admin", "AZURE_CLIENT_SECRET": "secret",
	} {
		t.Setenv(k, v)
	}
	w := &world{azure: e, url: server.URL, http: &http.Client{Transport: transport}}
	w.env = map[string]string{"AZURE_ENVIRONMENT_FILEPATH": write(t, "cloud.json",
		`{"resourceManagerEndpoint": "`+w.url+`/", "activeDirectoryEndpoint": "`+w.url+`/", "tokenAudience": "https://management.azure.com/"}`)}
	return w
}

// populate makes what the cluster has, for as long as the test runs.
func populate(t *testing.T, more ...client.Object) {
	t.Helper()
	scheme := runtime.NewScheme()
	must(t, errors.Join(corev1.AddToScheme(scheme), v1.AddToScheme(scheme)))
	api, err := client.New(plane.REST(), client.Options{Scheme: scheme})
	must(t, err)
	objects := append([]client.Object{
		node("node-0", "azure://"+setID+"/virtualMachines/0"),
		node("node-1", "azure://"+strings.ToLower(setID)+"/virtualMachines/1"),
		node("node-2", "azure://"+vmID),
		node("kind", "kind://docker/kind"),
		identity("one", v1.AzureIdentitySpec{Type: new(v1.UserAssignedMSI), ResourceID: identities + "one", ClientID: "c"}),
		identity("one-again", v1.AzureIdentitySpec{Type: new(v1.UserAssignedMSI), ResourceID: strings.ToLower(identities) + "one", ClientID: "c"}),
		identity("two-old-spelling", v1.AzureIdentitySpec{OldType: new(v1.UserAssignedMSI), OldResourceID: identities + "two", OldClientID: "c"}),
		identity("application", v1.AzureIdentitySpec{Type: new(v1.ServicePrincipal), ClientID: "c", TenantID: "t.example.com", ClientPassword: &v1.SecretReference{Name: "s", Namespace: "default"}}),
	}, more...)
	for _, o := range objects {
		must(t, api.Create(t.Context(), o))
		t.Cleanup(func() {
			if err := api.Delete(context.WithoutCancel(t.Context()), o); err != nil { // the test's own has ended
				t.Error(err)
			}
		})
	}
}

func node(name, providerID string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{ProviderID: providerID}}
}

func identity(name string, spec v1.AzureIdentitySpec) *v1.AzureIdentity {
	return &v1.AzureIdentity{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: spec}
}

// run runs the command and returns its status.
func (w *world) run(args ...string) (status int, stdout, stderr string) {
	c := roles.New(roles.Config{HTTP: w.http, Getenv: func(name string) string { return w.env[name] }})
	var out, errs strings.Builder
	c.SetArgs(append([]string{"--kubeconfig", plane.Kubeconfig(), "--cloud", "AzureStackCloud"}, args...))
	c.SetOut(&out)
	c.SetErr(&errs)
	c.SilenceUsage, c.SilenceErrors = true, true
	err := c.Execute()
	if e, ok := errors.AsType[exit.Error](err); ok {
		return int(e), out.String(), errs.String()
	}
	if err != nil {
		return -1, out.String(), err.Error()
	}
	return 0, out.String(), errs.String()
}

// cloud is Azure's endpoints.
func (w *world) cloud() cloud.Configuration {
	return cloud.Configuration{
		ActiveDirectoryAuthorityHost: w.url,
		Services:                     map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Endpoint: w.url, Audience: "https://management.azure.com/"}},
	}
}

// mic is Azure's machines as mic sees them: as its own principal.
func (w *world) mic(t *testing.T) *compute.Client {
	t.Helper()
	where := w.cloud()
	options := &azidentity.ClientSecretCredentialOptions{DisableInstanceDiscovery: true}
	options.Cloud, options.Transport = where, w.http
	credential, err := azidentity.NewClientSecretCredential(azemu.DefaultTenant, "mic", "mic's secret", options)
	must(t, err)
	c, err := compute.New(compute.Config{Credential: credential, Cloud: where, HTTP: w.http})
	must(t, err)
	return c
}

// writes are the role assignments and definitions that were asked to be made.
func (w *world) writes() int {
	c := w.azure.Counters()
	return c[azemu.EndpointRoleAssignmentPut].Calls + c[azemu.EndpointRoleDefinitionPut].Calls
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
