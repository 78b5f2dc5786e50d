package entra_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/entra"
	"github.com/podid-io/podid/internal/token"
	"github.com/podid-io/podid/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

const (
	group    = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg"
	blueID   = group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/blue"
	redID    = group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/red"
	vmID     = group + "/providers/Microsoft.Compute/virtualMachines/vm"
	resource = "https://vault.azure.net"
)

// newIMDS is a source over the metadata service of a machine with the identity
// blue; red exists and is not on it.
func newIMDS(t *testing.T) (*entra.IMDS, *azemu.Emulator) {
	t.Helper()
	e, err := azemu.New(azemu.Config{Seed: azemu.State{
		Identities: []azemu.Identity{{ID: blueID, ClientID: "blue-client", PrincipalID: "blue-object"}, {ID: redID, ClientID: "red-client"}},
		VMs:        []azemu.VM{{ID: vmID, Identity: &azemu.Assigned{UserAssigned: []string{blueID}}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return over(t, e.IMDSOf("vm")), e
}

// over is a source over a metadata service of the test's own.
func over(t *testing.T, h http.Handler) *entra.IMDS {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	endpoint, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	source, err := entra.NewIMDS(entra.IMDSConfig{Endpoint: endpoint})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(source.Close)
	return source
}

func TestIMDSGivesTokensOfTheIdentityAskedFor(t *testing.T) {
	source, _ := newIMDS(t)
	tests := map[string]struct {
		ask      token.Request
		wantKind token.Kind // when it fails
		fails    bool
	}{
		"by client id":                {ask: token.Request{ClientID: "blue-client"}},
		"by resource id":              {ask: token.Request{ResourceID: strings.ToLower(blueID)}},
		"by object id":                {ask: token.Request{ObjectID: "blue-object"}},
		"the client id comes first":   {ask: token.Request{ClientID: "blue-client", ResourceID: redID}},
		"the machine's own":           {ask: token.Request{VM: true}},
		"nobody's":                    {ask: token.Request{}, fails: true, wantKind: token.Rejected},
		"one that is not on the node": {ask: token.Request{ClientID: "red-client"}, fails: true, wantKind: token.NotThere},
		"one that does not exist":     {ask: token.Request{ResourceID: "/x"}, fails: true, wantKind: token.NotThere},
		"no managed identity":         {ask: token.Request{Type: v1.ServicePrincipal, ClientID: "blue-client"}, fails: true, wantKind: token.Rejected},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			tc.ask.Resource = resource
			got, err := source.Token(t.Context(), &tc.ask)
			if tc.fails {
				if err == nil || token.KindOf(err) != tc.wantKind {
					t.Errorf("Token() = %v, want a failure of kind %d", err, tc.wantKind)
				}
				return
			}
			if err != nil || got.Value == "" || time.Until(got.ExpiresOn) < time.Hour {
				t.Errorf("Token() = %+v, %v", got, err)
			}
		})
	}
}

func TestIMDSErrorsSayWhatToDo(t *testing.T) {
	source, e := newIMDS(t)
	tests := map[string]struct {
		fault     azemu.Fault
		wantKind  token.Kind
		wantAfter time.Duration
	}{
		"throttled":          {azemu.Fault{Status: 429, RetryAfter: azemu.Duration(7 * time.Second)}, token.Unavailable, 7 * time.Second},
		"throttled, no more": {azemu.Fault{Status: 429}, token.Unavailable, time.Second},
		"updating":           {azemu.Fault{Status: 410}, token.Unavailable, 0},
		"not found yet":      {azemu.Fault{Status: 404}, token.Unavailable, 0},
		"down":               {azemu.Fault{Status: 503}, token.Unavailable, 0},
		"a bad resource":     {azemu.Fault{Status: 400, Code: "invalid_resource", Message: "AADSTS500011"}, token.Rejected, 0},
		"identity not here":  {azemu.Fault{Status: 400, Code: "invalid_request", Message: "Identity not found"}, token.NotThere, 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if err := e.SetFault(azemu.EndpointIMDSToken, tc.fault); err != nil {
				t.Fatal(err)
			}
			before := e.Counters()[azemu.EndpointIMDSToken].Calls
			_, err := source.Token(t.Context(), &token.Request{ClientID: "blue-client", Resource: resource})
			got, ok := err.(*token.Error) //nolint:errorlint // documented to be one
			if !ok || got.Kind != tc.wantKind || got.RetryAfter != tc.wantAfter {
				t.Errorf("Token() = %+v, want kind %d and Retry-After %s", err, tc.wantKind, tc.wantAfter)
			}
			if n := e.Counters()[azemu.EndpointIMDSToken].Calls - before; n != 1 {
				t.Errorf("%d calls, want one: retries are the caller's", n)
			}
		})
	}
}

func TestIMDSAnswersOnlyForTheClientIDAskedFor(t *testing.T) {
	tests := map[string]struct {
		ask    token.Request
		answer string // its client id
		fails  bool
	}{
		"the same":                     {ask: token.Request{ClientID: "blue"}, answer: "blue"},
		"the same in another case":     {ask: token.Request{ClientID: "blue"}, answer: "BLUE"},
		"another":                      {ask: token.Request{ClientID: "blue"}, answer: "red", fails: true},
		"none is told":                 {ask: token.Request{ClientID: "blue"}},
		"none was asked for":           {ask: token.Request{ResourceID: "/blue"}, answer: "blue"},
		"the machine's own, by itself": {ask: token.Request{VM: true}, answer: "machine"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			source := over(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = fmt.Fprintf(w, `{"access_token":"t0ken","expires_on":"%d","client_id":%q}`, time.Now().Add(time.Hour).Unix(), tc.answer)
			}))
			got, err := source.Token(t.Context(), &tc.ask)
			if !tc.fails {
				if err != nil || got.ClientID != tc.answer {
					t.Errorf("Token() = %+v, %v", got, err)
				}
				return
			}
			if err == nil || token.KindOf(err) != token.Unavailable || got.Value != "" ||
				!strings.Contains(err.Error(), `"blue"`) || !strings.Contains(err.Error(), `"red"`) || strings.Contains(err.Error(), "t0ken") {
				t.Errorf("Token() = %+v, %v; want it unavailable, with both ids", got, err)
			}
		})
	}
}

func TestIMDSFollowsNoRedirectAndUsesNoProxy(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a request went where it should not")
	}))
	t.Cleanup(elsewhere.Close)
	t.Setenv("HTTP_PROXY", elsewhere.URL)
	t.Setenv("http_proxy", elsewhere.URL)
	source := over(t, http.RedirectHandler(elsewhere.URL, http.StatusFound))
	if _, err := source.Token(t.Context(), &token.Request{ClientID: "c", Resource: resource}); err == nil {
		t.Error("a redirect was taken for a token")
	}
}

func TestNewIMDSRefuses(t *testing.T) {
	for _, s := range []string{"https://169.254.169.254", "http://169.254.169.254/metadata", "http://", "http://user@host", "http://host?x"} {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := entra.NewIMDS(entra.IMDSConfig{Endpoint: u}); err == nil {
			t.Errorf("NewIMDS(%s) succeeded", s)
		}
	}
}

func TestARMCredentialWantsAllParts(t *testing.T) {
	if _, err := entra.ARMCredential(entra.ARMConfig{TenantID: "t", ClientID: "c"}); err == nil || !strings.Contains(err.Error(), "incomplete") {
		t.Errorf("ARMCredential() = %v, want what is missing", err)
	}
	if _, err := entra.ARMCredential(entra.ARMConfig{TenantID: "11111111-1111-1111-1111-111111111111", ClientID: "c", Secret: "s"}); err != nil {
		t.Error(err)
	}
}
