package compute_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/compute"
)

// Azure does not forget what it was asked when mic has another client.
func TestAClientThatFollowsKeepsWithinTheLimitsOfTheOneBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e, _ := inMemory(t, azemu.Config{ARMLimits: true})
		limits := compute.NewLimits()
		var mu sync.Mutex
		waited := map[string]time.Duration{}
		var agents []string
		follow := func() *compute.Client {
			c, err := compute.New(compute.Config{
				Credential: direct{e}, Limits: limits, UserAgent: "shop/1.2 (a long name, longer than the SDK lets one be)",
				Waited: func(bucket string, d time.Duration) {
					mu.Lock()
					defer mu.Unlock()
					waited[bucket] += d
				},
				HTTP: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					agents = append(agents, r.Header.Get("User-Agent"))
					return direct{e}.RoundTrip(r)
				})},
				Cloud: cloud.Configuration{Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
					cloud.ResourceManager: {Endpoint: "https://azure.test", Audience: "https://management.azure.com/"},
				}},
			})
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		for range 40 { // 35 at once, and 12 a minute
			if _, err := follow().Get(t.Context(), scope(t, vmID)); err != nil {
				t.Fatal(err)
			}
		}
		if n := e.Counters()[azemu.EndpointVMGet]; n.Calls != 40 || n.Status[http.StatusTooManyRequests] > 0 {
			t.Errorf("reads: %+v, want 40 and none refused", n)
		}
		if diff := cmp.Diff(map[string]time.Duration{"vm.get.resource": 25 * time.Second}, waited, cmp.Comparer(func(a, b time.Duration) bool { return (a - b).Abs() < time.Second })); diff != "" {
			t.Errorf("waited (-want +got):\n%s", diff)
		}
		if got := agents[0]; !strings.HasPrefix(got, "podid-mic ") || !strings.HasSuffix(got, " shop/1.2 (a long name, longer than the SDK lets one be)") {
			t.Errorf("user agent %q", got)
		}
	})
}
