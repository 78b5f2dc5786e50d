package compute_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/compute"
)

// direct is a way to an emulator without a network, so that the time can be
// synctest's.
type direct struct{ e *azemu.Emulator }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	in := httptest.NewRequestWithContext(r.Context(), r.Method, r.URL.String(), r.Body)
	in.Header = r.Header
	d.e.Azure().ServeHTTP(rec, in)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	answer := rec.Result()
	answer.Request = r
	return answer, nil
}

// GetToken asks without MSAL, which starts goroutines.
func (d direct) GetToken(ctx context.Context, _ policy.TokenRequestOptions) (azcore.AccessToken, error) {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/"+azemu.DefaultTenant+"/oauth2/v2.0/token",
		strings.NewReader("grant_type=client_credentials&client_id=mic&client_secret=secret&scope=https://management.azure.com/.default"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec := httptest.NewRecorder()
	d.e.Azure().ServeHTTP(rec, r)
	_, rest, _ := strings.Cut(rec.Body.String(), `"access_token":"`)
	token, _, ok := strings.Cut(rest, `"`)
	if !ok {
		return azcore.AccessToken{}, errors.New(rec.Body.String())
	}
	return azcore.AccessToken{Token: token, ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// inMemory is like start, without a network.
func inMemory(t *testing.T, c azemu.Config) (*azemu.Emulator, *compute.Client) {
	t.Helper()
	c.Seed.Apps = []azemu.App{{ClientID: "mic", Secrets: []string{"secret"}}}
	c.Seed.Identities = []azemu.Identity{{ID: id("a")}, {ID: id("b")}}
	c.Seed.VMs = append(c.Seed.VMs, azemu.VM{ID: vmID})
	c.Seed.ScaleSets = []azemu.ScaleSet{{ID: setID}}
	e, err := azemu.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e, overMemory(t, direct{e}, direct{e})
}

// overMemory is a client that asks by way, with tokens of tokens.
func overMemory(t *testing.T, way http.RoundTripper, tokens azcore.TokenCredential) *compute.Client {
	t.Helper()
	c, err := compute.New(compute.Config{
		Credential: tokens, HTTP: &http.Client{Transport: way},
		Cloud: cloud.Configuration{Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: "https://azure.test", Audience: "https://management.azure.com/"},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// rewritten is an answer with another text in its body.
func rewritten(way http.RoundTripper, r *http.Request, from, to string) (*http.Response, error) {
	answer, err := way.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(answer.Body)
	answer.Body = io.NopCloser(strings.NewReader(strings.ReplaceAll(string(body), from, to)))
	return answer, err
}

// Node autoprovisioning makes one VM for each node.
func TestManyMachinesAtOnceKeepWithinTheLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const machines = 500
		var vms []azemu.VM
		for i := range machines {
			vms = append(vms, azemu.VM{ID: fmt.Sprintf("%s-%d", vmID, i)})
		}
		e, c := inMemory(t, azemu.Config{ARMDelay: 40 * time.Second, RetryAfter: 10 * time.Second, ARMLimits: true, Seed: azemu.State{VMs: vms}})
		begin := time.Now()
		var all sync.WaitGroup
		for _, vm := range vms {
			all.Go(func() {
				s, err := c.Get(t.Context(), scope(t, vm.ID))
				if err == nil {
					_, err = c.Update(t.Context(), scope(t, vm.ID), s, []string{id("a")}, nil)
				}
				if err != nil {
					t.Errorf("%s: %v", vm.ID, err)
				}
			})
		}
		all.Wait()
		counters, reads, refused := e.Counters(), 0, 0
		for endpoint, n := range counters {
			refused += n.Status[http.StatusTooManyRequests]
			if endpoint == azemu.EndpointVMGet || endpoint == azemu.EndpointOperationGet {
				reads += n.Calls
			}
		}
		if refused > 0 || counters[azemu.EndpointVMPatch].Calls != machines {
			t.Errorf("%d answers of 429, %d PATCHes, want 0 and %d", refused, counters[azemu.EndpointVMPatch].Calls, machines)
		}
		took := time.Since(begin)
		bucket := time.Duration(float64(reads-125) / 12.5 * float64(time.Second)) // half of what Azure takes
		t.Logf("%s for %d reads, of which the bucket allows for %s", took, reads, bucket)
		if took < bucket-time.Second || took > bucket+50*time.Second || took > 6*time.Minute {
			t.Errorf("it took %s, and the bucket allows for %d reads %s", took, reads, bucket)
		}
	})
}

func TestOneResourceKeepsWithinItsLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e, c := inMemory(t, azemu.Config{ARMLimits: true})
		begin := time.Now()
		for i := range 20 {
			s, err := c.Get(t.Context(), scope(t, setID))
			if err != nil {
				t.Fatal(err)
			}
			attach, detach := []string{id("a")}, []string{id("b")}
			if i%2 == 1 {
				attach, detach = detach, attach
			}
			if _, err := c.Update(t.Context(), scope(t, setID), s, attach, detach); err != nil {
				t.Fatal(err)
			}
		}
		if n := e.Counters()[azemu.EndpointVMSSPatch]; n.Calls != 20 || n.Status[http.StatusTooManyRequests] > 0 {
			t.Errorf("PATCHes: %+v, want 20 and none refused", n)
		}
		if took := time.Since(begin); took < 9*15*time.Second || took > 10*15*time.Second {
			t.Errorf("20 PATCHes took %s: want 11 at once and 4 each minute", took)
		}
	})
}

func TestAfter429NothingIsSentUntilAzureWants(t *testing.T) {
	other := strings.Replace(vmID, "/Group/", "/Elsewhere/", 1)
	elsewhere := strings.Replace(vmID, "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222", 1)
	const resource, subscription = "X-Ms-Ratelimit-Remaining-Resource", "X-Ms-Ratelimit-Remaining-Subscription-Reads"
	for sentence, test := range map[string]struct {
		header, value string
		left          []string // alone
	}{
		"the resource alone, when Azure says no more":     {"", "", []string{vmID}},
		"the resource alone, by its policy":               {resource, "Microsoft.Compute/LowCostGetSubscriptionMaximum;9,Microsoft.Compute/LowCostGetResource;0", []string{vmID}},
		"the subscription, by its policy":                 {resource, "Microsoft.Compute/LowCostGetSubscriptionMaximum;0,Microsoft.Compute/LowCostGetResource;3", []string{vmID, other}},
		"the subscription, by an older policy":            {resource, "Microsoft.Compute/HighCostGet3Min;159,Microsoft.Compute/HighCostGet30Min;0", []string{vmID, other}},
		"the subscription, by what Resource Manager says": {subscription, "0", []string{vmID, other, setID}},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e, err := azemu.New(azemu.Config{Seed: azemu.State{
					Apps: []azemu.App{{ClientID: "mic", Secrets: []string{"secret"}}},
					VMs:  []azemu.VM{{ID: vmID}, {ID: other + "2"}, {ID: elsewhere + "3"}}, ScaleSets: []azemu.ScaleSet{{ID: setID}},
				}})
				if err != nil {
					t.Fatal(err)
				}
				defer e.Close()
				refuse := true
				c := overMemory(t, roundTrip(func(r *http.Request) (*http.Response, error) {
					answer, err := direct{e}.RoundTrip(r)
					if err == nil && refuse {
						answer.StatusCode = http.StatusTooManyRequests
						answer.Header.Del(resource)
						answer.Header.Set("Retry-After", "90")
						if test.header != "" {
							answer.Header.Set(test.header, test.value)
						}
					}
					return answer, err
				}), direct{e})
				get := func(id string) *compute.Error {
					_, err := c.Get(t.Context(), scope(t, id))
					e, _ := errors.AsType[*compute.Error](err)
					return e
				}
				if err := get(vmID); err == nil || err.Kind != compute.Throttled || err.RetryAfter != 90*time.Second {
					t.Fatalf("error = %v, want throttled for 90s", err)
				}
				refuse = false
				time.Sleep(30 * time.Second)
				for on, id := range map[string]string{vmID: vmID, other: other + "2", setID: setID, elsewhere: elsewhere + "3"} {
					want := strings.Contains(strings.Join(test.left, " ")+" ", on+" ")
					err := get(id)
					if got := err != nil && err.Kind == compute.Throttled && err.RetryAfter == time.Minute; got != want {
						t.Errorf("%s after 30s: %v, want that it is left alone: %v", id, err, want)
					}
				}
				time.Sleep(time.Minute)
				if err := get(vmID); err != nil {
					t.Errorf("after 90s: %v", err)
				}
			})
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
