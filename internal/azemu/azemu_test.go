package azemu_test

import (
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

const (
	tenant       = "11111111-2222-3333-4444-555555555555"
	subscription = "99999999-8888-7777-6666-555555555555"
	group        = "MC_demo"
	inGroup      = "/subscriptions/" + subscription + "/resourceGroups/" + group
	identities   = inGroup + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"
	vmssID       = inGroup + "/providers/Microsoft.Compute/virtualMachineScaleSets/pool"
	vmID         = inGroup + "/providers/Microsoft.Compute/virtualMachines/single"
	appID        = "aaaaaaaa-0000-0000-0000-000000000001"
	appObject    = "aaaaaaaa-0000-0000-0000-000000000002"
	appSecret    = "s3cret +/&=%"
	management   = "https://management.azure.com"
)

// seed has three identities, one of which nobody may assign, an app, a scale
// set with two instances and a VM, all without identities.
func seed() azemu.State {
	return azemu.State{
		Tenant: tenant,
		Identities: []azemu.Identity{
			{ID: identities + "one", ClientID: "client-1", PrincipalID: "object-1"},
			{ID: identities + "two", ClientID: "client-2", PrincipalID: "object-2"},
			{ID: identities + "forbidden", NoPermission: true},
		},
		Apps: []azemu.App{{ClientID: appID, ObjectID: appObject, Secrets: []string{"old", appSecret}}},
		VMs:  []azemu.VM{{ID: vmID}},
		ScaleSets: []azemu.ScaleSet{{ID: vmssID, Instances: []azemu.Instance{
			{InstanceID: "0", Name: "pool000000"}, {InstanceID: "1", Name: "pool000001"},
		}}},
	}
}

// world is an emulator behind a real TLS listener on loopback, and an HTTP
// client that trusts it.
type world struct {
	*azemu.Emulator
	server *httptest.Server
	url    string
	client *http.Client
}

func start(t *testing.T, c azemu.Config) world {
	t.Helper()
	if c.Seed.Tenant == "" {
		c.Seed = seed()
	}
	e, err := azemu.New(c)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	server := httptest.NewUnstartedServer(e.Azure())
	server.TLS = e.TLS()
	server.StartTLS()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(e.CA()) {
		t.Fatal("CA() holds no certificate")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig.RootCAs = roots
	t.Cleanup(func() {
		e.Close()
		transport.CloseIdleConnections()
		server.Close()
	})
	return world{Emulator: e, server: server, url: server.URL, client: &http.Client{Transport: transport}}
}

// options are the SDK's, for this cloud.
func (w world) options() azcore.ClientOptions {
	return azcore.ClientOptions{
		Transport: w.client,
		Retry:     policy.RetryOptions{MaxRetries: -1},
		Cloud: cloud.Configuration{
			ActiveDirectoryAuthorityHost: w.url,
			Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
				cloud.ResourceManager: {Endpoint: w.url, Audience: management},
			},
		},
	}
}

func (w world) credential(t *testing.T, tenant, id, secret string) *azidentity.ClientSecretCredential {
	t.Helper()
	cred, err := azidentity.NewClientSecretCredential(tenant, id, secret, &azidentity.ClientSecretCredentialOptions{
		ClientOptions: w.options(), DisableInstanceDiscovery: true,
	})
	if err != nil {
		t.Fatalf("NewClientSecretCredential: %v", err)
	}
	return cred
}

func (w world) compute(t *testing.T) *armcompute.ClientFactory {
	t.Helper()
	f, err := armcompute.NewClientFactory(subscription, w.credential(t, tenant, appID, appSecret), &arm.ClientOptions{
		ClientOptions: w.options(), DisableRPRegistration: true,
	})
	if err != nil {
		t.Fatalf("NewClientFactory: %v", err)
	}
	return f
}

// call sends one request and decodes the JSON of the answer.
func (w world) call(t *testing.T, req *http.Request) (int, http.Header, map[string]any) {
	t.Helper()
	resp, err := w.client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer resp.Body.Close()
	return resp.StatusCode, resp.Header, decode(t, resp.Body)
}

func decode(t *testing.T, r io.Reader) map[string]any {
	t.Helper()
	body, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read the answer: %v", err)
	}
	var v map[string]any
	if len(body) > 0 {
		if err := json.Unmarshal(body, &v); err != nil {
			t.Fatalf("answer is no JSON object: %q", body)
		}
	}
	return v
}

// askIMDS asks one machine's metadata service, without a network.
func askIMDS(t *testing.T, e *azemu.Emulator, machine string, query url.Values) (int, map[string]any) {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metadata/identity/oauth2/token?"+query.Encode(), http.NoBody)
	req.Header.Set("Metadata", "true")
	rec := httptest.NewRecorder()
	e.IMDSOf(machine).ServeHTTP(rec, req)
	return rec.Code, decode(t, rec.Body)
}

// tokenQuery asks for a token of one identity, or of the default one.
func tokenQuery(clientID string) url.Values {
	q := url.Values{"api-version": {"2018-02-01"}, "resource": {"https://vault.azure.net"}}
	if clientID != "" {
		q.Set("client_id", clientID)
	}
	return q
}

// bearer is a header with a token for management.
func (w world) bearer(t *testing.T) string {
	t.Helper()
	token, err := w.credential(t, tenant, appID, appSecret).GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{management + "/.default"}})
	if err != nil {
		t.Fatalf("GetToken: %v", err)
	}
	if left := time.Until(token.ExpiresOn); left < 59*time.Minute || left > time.Hour {
		t.Errorf("token of an app lives another %s, want nearly an hour", left)
	}
	return "Bearer " + token.Token
}
