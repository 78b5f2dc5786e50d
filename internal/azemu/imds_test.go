package azemu_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/podid-io/podid/internal/azemu"
)

// withIdentities is the seed with these on the scale set.
func withIdentities(kind string, names ...string) azemu.State {
	s := seed()
	a := &azemu.Assigned{Type: kind}
	for _, n := range names {
		a.UserAssigned = append(a.UserAssigned, identities+n)
	}
	s.ScaleSets[0].Identity = a
	return s
}

func newEmulator(t *testing.T, c azemu.Config) *azemu.Emulator {
	t.Helper()
	e, err := azemu.New(c)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(e.Close)
	return e
}

func TestIMDSChoosesTheIdentity(t *testing.T) {
	t.Parallel()
	const multiple = "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request"
	tests := map[string]struct {
		kind     string
		on       []string
		selector url.Values
		want     string // xms_mirid
		err      string
	}{
		"nothing on the machine":                        {kind: "None", err: "Identity not found"},
		"the only user-assigned one is the default":     {on: []string{"one"}, want: identities + "one"},
		"several user-assigned ones have no default":    {on: []string{"one", "two"}, err: multiple},
		"the system-assigned one is the default":        {kind: "SystemAssigned, UserAssigned", on: []string{"one", "two"}, want: vmssID},
		"the system-assigned one alone":                 {kind: "SystemAssigned", want: vmssID},
		"by client id, in any case":                     {on: []string{"one", "two"}, selector: url.Values{"client_id": {"CLIENT-2"}}, want: identities + "two"},
		"by object id":                                  {on: []string{"one", "two"}, selector: url.Values{"object_id": {"object-1"}}, want: identities + "one"},
		"by resource id, in any case":                   {on: []string{"one", "two"}, selector: url.Values{"msi_res_id": {strings.ToLower(identities + "one")}}, want: identities + "one"},
		"by resource id, as Java spells it":             {on: []string{"one", "two"}, selector: url.Values{"mi_res_id": {identities + "two"}}, want: identities + "two"},
		"an identity that is on another machine":        {on: []string{"one"}, selector: url.Values{"client_id": {"client-2"}}, err: "Identity not found"},
		"two selectors at once":                         {on: []string{"one"}, selector: url.Values{"client_id": {"client-1"}, "object_id": {"object-1"}}, err: "name the identity once"},
		"a client id is not looked up as an object id":  {on: []string{"one"}, selector: url.Values{"object_id": {"client-1"}}, err: "Identity not found"},
		"the default is not taken for a wrong selector": {on: []string{"one"}, selector: url.Values{"msi_res_id": {"nothing"}}, err: "Identity not found"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, azemu.Config{Seed: withIdentities(tt.kind, tt.on...)})
			q := tokenQuery("")
			maps.Copy(q, tt.selector)
			status, body := askIMDS(t, w.Emulator, "pool000001", q)
			if tt.err != "" {
				if text := fmt.Sprint(body["error_description"]); status != http.StatusBadRequest || !strings.Contains(text, tt.err) || body["error"] != "invalid_request" {
					t.Errorf("answer = %d %v, want 400 invalid_request with %q", status, body, tt.err)
				}
				return
			}
			if status != http.StatusOK {
				t.Fatalf("answer = %d %v", status, body)
			}
			claims := verified(t, w, body["access_token"].(string))
			if claims["xms_mirid"] != tt.want || claims["tid"] != tenant || claims["sub"] != claims["oid"] ||
				claims["iss"] != "https://sts.windows.net/"+tenant+"/" || claims["aud"] != "https://vault.azure.net" || claims["ver"] != "1.0" {
				t.Errorf("claims = %v, want those of %s", claims, tt.want)
			}
			if body["client_id"] != claims["appid"] {
				t.Errorf("client_id = %v, want %v", body["client_id"], claims["appid"])
			}
			if (body["object_id"] != nil) != tt.selector.Has("object_id") {
				t.Errorf("object_id = %v for selector %v", body["object_id"], tt.selector)
			}
		})
	}
}

func TestIMDSRules(t *testing.T) {
	t.Parallel()
	const path = "/metadata/identity/oauth2/token"
	const ok = "?api-version=2018-02-01&resource=https://vault.azure.net"
	tests := map[string]struct {
		method, target string
		header         http.Header // nil: Metadata: true
		status         int
		text           string
	}{
		"a request as it should be":                 {target: path + ok, status: 200},
		"a path in another case":                    {target: strings.ToUpper(path) + ok, status: 200},
		"no header":                                 {target: path + ok, header: http.Header{}, status: 400, text: "Required metadata header not specified"},
		"a header that is not lower-case true":      {target: path + ok, header: http.Header{"Metadata": {"True"}}, status: 400, text: "Required metadata header"},
		"X-Forwarded-For":                           {target: path + ok, header: http.Header{"Metadata": {"true"}, "X-Forwarded-For": {""}}, status: 400, text: "X-Forwarded-For"},
		"another method":                            {method: "POST", target: path + ok, status: 405},
		"a parameter twice":                         {target: path + ok + "&bypass_cache=true&bypass_cache=true", status: 400, text: "bypass_cache is given twice"},
		"a parameter twice, in another case":        {target: path + ok + "&Resource=x", status: 400, text: "resource is given twice"},
		"no resource":                               {target: path + "?api-version=2018-02-01", status: 400, text: "Required query variable 'resource' is missing"},
		"no api-version":                            {target: path + "?resource=x", status: 400, text: "api-version"},
		"an unknown path, before the header":        {target: "/metadata/identity/getplatformmetadata?cred-api-version=2.0", header: http.Header{}, status: 404},
		"repeated slashes are not repaired":         {target: "//metadata/identity/oauth2/token" + ok, status: 404},
		"the tenant":                                {target: "/metadata/identity/info?api-version=2018-02-01", status: 200, text: tenant},
		"the versions, without header or version":   {target: "/metadata/versions", header: http.Header{}, status: 200, text: "2025-04-07"},
		"the instance":                              {target: "/metadata/instance?api-version=2021-02-01", status: 200, text: `"vmScaleSetName":"pool"`},
		"its compute part":                          {target: "/metadata/instance/compute?api-version=2021-02-01", status: 200, text: `"resourceId":"` + vmssID + `/virtualMachines/0"`},
		"one field as text":                         {target: "/metadata/instance/compute/name?api-version=2021-02-01&format=text", status: 200, text: "pool_0"},
		"one field not as text":                     {target: "/metadata/instance/compute/name?api-version=2021-02-01", status: 400, text: "format=text"},
		"a field that does not exist":               {target: "/metadata/instance/compute/zest?api-version=2021-02-01&format=text", status: 404},
		"the instance without header":               {target: "/metadata/instance?api-version=2021-02-01", header: http.Header{}, status: 400, text: "Required metadata header"},
		"the instance with a version that is none":  {target: "/metadata/instance?api-version=1999-01-01", status: 400, text: `"newest-versions":["2025-04-07","2024-07-17","2024-03-15"]`},
		"the instance with X-Forwarded-For":         {target: "/metadata/instance?api-version=2021-02-01", header: http.Header{"Metadata": {"true"}, "X-Forwarded-For": {"10.0.0.1"}}, status: 400, text: "X-Forwarded-For"},
		"the instance without a version":            {target: "/metadata/instance", status: 400, text: "api-version is invalid or was not specified"},
		"the instance with another method, refused": {method: "PUT", target: "/metadata/instance?api-version=2021-02-01", status: 405},
	}
	e := newEmulator(t, azemu.Config{Seed: withIdentities("", "one")})
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.method == "" {
				tt.method = http.MethodGet
			}
			req := httptest.NewRequestWithContext(t.Context(), tt.method, "http://169.254.169.254"+tt.target, http.NoBody)
			if req.Header = tt.header; tt.header == nil {
				req.Header = http.Header{"Metadata": {"true"}}
			}
			rec := httptest.NewRecorder()
			e.IMDSOf("pool000000").ServeHTTP(rec, req)
			if rec.Code != tt.status || !strings.Contains(rec.Body.String(), tt.text) {
				t.Errorf("answer = %d %s, want %d with %q", rec.Code, rec.Body, tt.status, tt.text)
			}
		})
	}
}

func TestIMDSKnowsTheCallerByAddress(t *testing.T) {
	t.Parallel()
	s := withIdentities("", "one")
	s.ScaleSets[0].Instances[0].Sources = []netip.Prefix{netip.MustParsePrefix("10.224.0.4/32"), netip.MustParsePrefix("10.224.1.0/24"), netip.MustParsePrefix("10.224.2.128/25")}
	s.ScaleSets[0].Instances[1].Sources = []netip.Prefix{netip.MustParsePrefix("10.224.0.5/32"), netip.MustParsePrefix("10.224.1.128/25"), netip.MustParsePrefix("10.224.2.0/24")}
	e := newEmulator(t, azemu.Config{Seed: s})
	tests := map[string]struct{ from, want string }{
		"a node":                                 {"10.224.0.5:1", "pool_1"},
		"a pod":                                  {"10.224.1.7:1", "pool_0"},
		"a pod in a narrower range":              {"10.224.1.200:1", "pool_1"},
		"a pod in a range that is narrower here": {"10.224.2.200:1", "pool_0"},
		"an IPv4 address in IPv6":                {"[::ffff:10.224.0.4]:1", "pool_0"},
		"an address that nobody has":             {"10.9.9.9:1", ""},
		"an address that is no place":            {"@", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metadata/instance/compute/name?api-version=2021-02-01&format=text", http.NoBody)
			req.Header.Set("Metadata", "true")
			req.RemoteAddr = tt.from
			rec := httptest.NewRecorder()
			e.IMDS().ServeHTTP(rec, req)
			got := rec.Body.String()
			if rec.Code != http.StatusOK {
				got = ""
			}
			if got != tt.want || rec.Code != http.StatusOK && rec.Code != http.StatusNotFound {
				t.Errorf("answer = %d %q, want %q", rec.Code, rec.Body, tt.want)
			}
		})
	}
}

func TestIMDSKeepsTheTokenUntilHalfLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEmulator(t, azemu.Config{Seed: withIdentities("", "one")})
		ask := func() (token, expiresIn string) {
			_, body := askIMDS(t, e, "pool000000", tokenQuery(""))
			return fmt.Sprint(body["access_token"]), fmt.Sprint(body["expires_in"])
		}
		first, in := ask()
		if in != "86400" {
			t.Errorf("expires_in = %s, want 86400", in)
		}
		time.Sleep(12*time.Hour - time.Second)
		again, in := ask()
		if again != first || in != "43201" {
			t.Errorf("a second before half life: same token %t, expires_in %s, want true and 43201", again == first, in)
		}
		time.Sleep(time.Second)
		if renewed, in := ask(); renewed == first || in != "86400" {
			t.Errorf("at half life: same token %t, expires_in %s, want false and 86400", renewed == first, in)
		}
		if _, other := askIMDS(t, e, "pool000000", url.Values{"api-version": {"2018-02-01"}, "resource": {"other"}}); other["access_token"] == again {
			t.Error("another resource got the same token")
		}
	})
}

func TestIMDSLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEmulator(t, azemu.Config{Seed: withIdentities("", "one"), IMDSLimits: true})
		statuses := map[int]int{}
		for range 25 {
			status, _ := askIMDS(t, e, "pool000000", tokenQuery(""))
			statuses[status]++
		}
		if diff := cmp.Diff(map[int]int{200: 20, 429: 5}, statuses); diff != "" {
			t.Errorf("25 requests in no time (-want +got):\n%s", diff)
		}
		if status, _ := askIMDS(t, e, "pool000001", tokenQuery("")); status != http.StatusOK {
			t.Errorf("another machine has limits of its own: %d", status)
		}
	})
}

// An unmodified azidentity credential gets its token from the emulator, and no
// other identity's.
func TestSDKManagedIdentity(t *testing.T) {
	t.Parallel()
	w := start(t, azemu.Config{Seed: withIdentities("", "one")})
	server := httptest.NewServer(w.IMDSOf("pool000000"))
	defer server.Close()
	resource := "https://" + uuid.NewString() // azidentity caches tokens for the whole process
	tests := map[string]struct {
		id      azidentity.ManagedIDKind
		wantErr bool
	}{
		"by client id":      {id: azidentity.ClientID("client-1")},
		"by resource id":    {id: azidentity.ResourceID(identities + "one")},
		"by object id":      {id: azidentity.ObjectID("object-1")},
		"the default":       {},
		"an absent one not": {id: azidentity.ClientID("client-2"), wantErr: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cred, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{
				ID: tt.id, ClientOptions: azcore.ClientOptions{Transport: redirect{to: server, client: w.client}},
			})
			if err != nil {
				t.Fatal(err)
			}
			token, err := cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}})
			if (err != nil) != tt.wantErr {
				t.Fatalf("GetToken() error = %v, want one: %t", err, tt.wantErr)
			}
			if err != nil {
				return
			}
			if claims := verified(t, w, token.Token); claims["oid"] != "object-1" || claims["aud"] != resource {
				t.Errorf("claims = %v, want object-1 for %s", claims, resource)
			}
		})
	}
}

// redirect sends requests for the metadata service to a server on loopback.
type redirect struct {
	to     *httptest.Server
	client *http.Client
}

func (r redirect) Do(req *http.Request) (*http.Response, error) {
	if req.URL.Host != "169.254.169.254" {
		return nil, fmt.Errorf("unexpected request to %s", req.URL.Host)
	}
	req.URL.Host = r.to.Listener.Addr().String()
	return r.client.Do(req)
}

func TestIMDSLimitsConcurrency(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEmulator(t, azemu.Config{Seed: withIdentities("", "one"), IMDSLimits: true})
		if err := e.SetFault(azemu.EndpointIMDSToken, azemu.Fault{Delay: azemu.Duration(time.Second)}); err != nil {
			t.Fatal(err)
		}
		statuses := make(chan int, 8)
		var g sync.WaitGroup
		for range cap(statuses) {
			g.Go(func() { // ends with the request
				status, _ := askIMDS(t, e, "pool000000", tokenQuery(""))
				statuses <- status
			})
		}
		g.Wait()
		close(statuses)
		got := map[int]int{}
		for s := range statuses {
			got[s]++
		}
		if diff := cmp.Diff(map[int]int{200: 5, 429: 3}, got); diff != "" {
			t.Errorf("8 slow requests at once (-want +got):\n%s", diff)
		}
	})
}
