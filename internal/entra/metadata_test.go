package entra_test

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/entra"
	"github.com/podid-io/podid/internal/imds"
	"github.com/podid-io/podid/internal/token"
)

func TestMetadataGetsAPage(t *testing.T) {
	var got []string
	source := over(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.URL.String()+" "+r.Header.Get("Metadata"))
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Retry-After", "3")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = w.Write([]byte("slowly"))
	}))
	a, err := source.Metadata(t.Context(), "/metadata/instance/compute", url.Values{"api-version": {"2021-02-01"}, "x": {"a&b"}})
	if err != nil {
		t.Fatal(err)
	}
	want := imds.Answer{Status: 429, ContentType: "text/plain", RetryAfter: "3", Body: []byte("slowly")}
	if diff := cmp.Diff(want, a); diff != "" {
		t.Errorf("Metadata() (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"GET /metadata/instance/compute?api-version=2021-02-01&x=a%26b true"}, got); diff != "" {
		t.Errorf("the service was asked (-want +got):\n%s", diff)
	}
}

func TestMetadataRefusesWhatCouldBeAnotherPath(t *testing.T) {
	source := over(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("a request went out for %s", r.URL) }))
	for _, path := range []string{
		"", "/", "/metadata", "/metadata/", "metadata/instance", "//metadata/instance", "/metadata//instance", "/metadata/instance/",
		"/metadata/../machine", "/metadata/%69dentity", "/metadata/instance?x", "/metadata/instance#x", "/metadata/instance\n", "/Metadata/instance",
		"/metadata/identity/oauth2/token", "/metadata/identity", "/metadata/identity/issuecredential", "/metadata/identity/getplatformmetadata",
		"@evil.example/metadata/instance", "/machine/plugins", "/metadata/instance:80",
	} {
		if _, err := source.Metadata(t.Context(), path, nil); err == nil || token.KindOf(err) != token.Rejected {
			t.Errorf("Metadata(%q) = %v, want it refused", path, err)
		}
	}
}

func TestMetadataFollowsNoRedirectAndReadsNotTooMuch(t *testing.T) {
	answers := []http.Handler{
		http.RedirectHandler("http://evil.example/", http.StatusFound),
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(strings.Repeat("x", 2<<20))) }),
	}
	var n atomic.Int32
	source := over(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answers[n.Add(1)-1].ServeHTTP(w, r) }))
	if a, err := source.Metadata(t.Context(), "/metadata/instance", nil); err != nil || a.Status != http.StatusFound {
		t.Errorf("a redirect gave %d, %v", a.Status, err)
	}
	if _, err := source.Metadata(t.Context(), "/metadata/instance", nil); err == nil || token.KindOf(err) != token.Unavailable {
		t.Errorf("two megabytes gave %v", err)
	}
}

func TestMetadataStaysInsideTheLimit(t *testing.T) {
	e, err := azemu.New(azemu.Config{IMDSLimits: true, Seed: azemu.State{VMs: []azemu.VM{{ID: vmID}}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	source := over(t, e.IMDSOf("vm"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			a, err := source.Metadata(ctx, "/metadata/instance", url.Values{"api-version": {"2021-02-01"}})
			if err != nil || a.Status != http.StatusOK {
				t.Errorf("Metadata() = %d, %v", a.Status, err)
			}
		})
	}
	wg.Wait()
}

func TestTenantIsRemembered(t *testing.T) {
	source, e := newIMDS(t)
	for range 3 {
		if got, err := source.Tenant(t.Context()); err != nil || got != azemu.DefaultTenant {
			t.Errorf("Tenant() = %s, %v", got, err)
		}
	}
	if n := e.Counters()[azemu.EndpointIMDSInfo].Calls; n != 1 {
		t.Errorf("%d calls, want one", n)
	}
	source, e = newIMDS(t)
	if err := e.SetFault(azemu.EndpointIMDSInfo, azemu.Fault{Status: 503}); err != nil {
		t.Fatal(err)
	}
	if _, err := source.Tenant(t.Context()); err == nil || token.KindOf(err) != token.Unavailable {
		t.Errorf("Tenant() = %v while IMDS is down", err)
	}
}

func TestIMDSPassesOnWhatTheClientCanDo(t *testing.T) {
	var got url.Values
	source := over(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.URL.Query()
		http.Error(w, "no", http.StatusServiceUnavailable)
	}))
	_, _ = source.Token(t.Context(), &token.Request{ClientID: "c", Resource: resource, Capabilities: "cp1,llt", Refused: "abc"})
	if got.Get("xms_cc") != "cp1,llt" || got.Get("token_sha256_to_refresh") != "abc" {
		t.Errorf("IMDS was asked with %v", got)
	}
}

func TestCloudFindsAzuresClouds(t *testing.T) {
	tests := map[string]struct{ name, wantHost string }{
		"the public one":              {"AzureCloud", "https://login.microsoftonline.com/"},
		"by its old name":             {"azurepubliccloud", "https://login.microsoftonline.com/"},
		"China's":                     {"AzureChinaCloud", "https://login.chinacloudapi.cn/"},
		"the US government's":         {"AzureUSGovernment", "https://login.microsoftonline.us/"},
		"by its other name":           {"AZUREUSGOVERNMENTCLOUD", "https://login.microsoftonline.us/"},
		"Germany's, which was closed": {"AzureGermanCloud", ""},
		"none":                        {"", ""},
		"an unknown one":              {"Nimbus", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := entra.Cloud(tt.name)
			if got.ActiveDirectoryAuthorityHost != tt.wantHost || (err == nil) != (tt.wantHost != "") || (err != nil && strings.Contains(err.Error(), "AzureStackCloud")) {
				t.Errorf("Cloud(%q) = %q, %v", tt.name, got.ActiveDirectoryAuthorityHost, err)
			}
		})
	}
}

// The cache keeps the limits of IMDS, which the emulator enforces here. How fast it
// is within them is held in internal/token, where the time is synctest's.
func TestCacheStaysInsideTheLimitsOfIMDS(t *testing.T) {
	e, err := azemu.New(azemu.Config{IMDSLimits: true, Seed: azemu.State{
		Identities: []azemu.Identity{{ID: blueID, ClientID: "blue-client"}},
		VMs:        []azemu.VM{{ID: vmID, Identity: &azemu.Assigned{UserAssigned: []string{blueID}}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	if err := e.SetFault(azemu.EndpointIMDSToken, azemu.Fault{Delay: azemu.Duration(100 * time.Millisecond)}); err != nil {
		t.Fatal(err)
	}
	cache := token.NewCache(token.CacheConfig{Source: over(t, e.IMDSOf("vm"))})
	var wg sync.WaitGroup
	const calls = 60
	for i := range calls {
		wg.Go(func() {
			r := &token.Request{ClientID: "blue-client", Resource: resource + "/" + strconv.Itoa(i)}
			if _, _, err := cache.Get(t.Context(), r, token.Ask{Owner: strconv.Itoa(i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	c := e.Counters()[azemu.EndpointIMDSToken]
	if c.Status[http.StatusTooManyRequests] != 0 || c.Status[http.StatusOK] != calls || c.Peak > 5 {
		t.Errorf("answers by status %v, %d at once; want %d times 200 and at most 5", c.Status, c.Peak, calls)
	}
}
