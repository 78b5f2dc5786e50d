package compute_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/compute"
	"github.com/podid-io/podid/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

const base = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/Group/providers/"

func id(name string) string {
	return strings.ToLower(base + "Microsoft.ManagedIdentity/userAssignedIdentities/" + name)
}

var (
	vmID  = base + "Microsoft.Compute/virtualMachines/single"
	setID = base + "Microsoft.Compute/virtualMachineScaleSets/pool"
)

func scope(t *testing.T, id string) assign.Scope {
	t.Helper()
	s, err := assign.ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// start runs an emulator with a VM and a scale set that have these identities.
func start(t *testing.T, c azemu.Config, has azemu.Assigned, known ...string) (*azemu.Emulator, *compute.Client) {
	t.Helper()
	c.Seed.Apps = []azemu.App{{ClientID: "mic", Secrets: []string{"secret"}}}
	for _, name := range known {
		c.Seed.Identities = append(c.Seed.Identities, azemu.Identity{ID: id(name)})
	}
	c.Seed.VMs = []azemu.VM{{ID: vmID, Identity: &has}}
	c.Seed.ScaleSets = []azemu.ScaleSet{{ID: setID, Identity: &has}}
	e, err := azemu.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	server := httptest.NewUnstartedServer(e.Azure())
	server.TLS = e.TLS()
	server.StartTLS()
	t.Cleanup(server.Close)
	return e, client(t, e, server.URL)
}

func client(t *testing.T, e *azemu.Emulator, url string) *compute.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(e.CA())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	config := compute.Config{
		Cloud: cloud.Configuration{
			ActiveDirectoryAuthorityHost: url,
			Services:                     map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Endpoint: url, Audience: "https://management.azure.com/"}},
		},
		HTTP:          &http.Client{Transport: transport},
		UpdateTimeout: 5 * time.Minute,
	}
	options := &azidentity.ClientSecretCredentialOptions{DisableInstanceDiscovery: true}
	options.Cloud, options.Transport = config.Cloud, config.HTTP
	credential, err := azidentity.NewClientSecretCredential(azemu.DefaultTenant, "mic", "secret", options)
	if err != nil {
		t.Fatal(err)
	}
	config.Credential = credential
	c, err := compute.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestUpdateChangesWhatItWasToldAndNothingElse(t *testing.T) {
	for name, test := range map[string]struct {
		has            azemu.Assigned
		attach, detach []string
		wantType       string
		want           []string
		wantPatches    int
	}{
		"attaches the first": {
			attach: []string{id("a")}, wantType: "UserAssigned", want: []string{"a"}, wantPatches: 1,
		},
		"keeps the system-assigned identity while attaching": {
			has: azemu.Assigned{Type: "SystemAssigned"}, attach: []string{id("a")},
			wantType: "SystemAssigned, UserAssigned", want: []string{"a"}, wantPatches: 1,
		},
		"keeps what is there while attaching and detaching": {
			has: azemu.Assigned{UserAssigned: []string{id("a"), id("b")}}, attach: []string{id("c")}, detach: []string{id("b")},
			wantType: "UserAssigned", want: []string{"a", "c"}, wantPatches: 1,
		},
		"detaches the last": {
			has: azemu.Assigned{UserAssigned: []string{id("a")}}, detach: []string{id("a")}, wantPatches: 1,
		},
		"keeps the system-assigned identity while detaching the last": {
			has: azemu.Assigned{Type: "SystemAssigned, UserAssigned", UserAssigned: []string{id("a")}}, detach: []string{id("a")},
			wantType: "SystemAssigned", wantPatches: 1,
		},
		"sends nothing when all is so already, in whatever case": {
			has: azemu.Assigned{UserAssigned: []string{id("a")}}, attach: []string{strings.ToUpper(id("a"))}, detach: []string{id("b")},
			wantType: "UserAssigned", want: []string{"a"},
		},
	} {
		for kind, target := range map[string]string{"VM": vmID, "scale set": setID} {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				e, c := start(t, azemu.Config{}, test.has, "a", "b", "c")
				s, err := c.Get(t.Context(), scope(t, target))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := c.Update(t.Context(), scope(t, target), s, test.attach, test.detach); err != nil {
					t.Fatal(err)
				}
				has, visible := see(e, target)
				if has.Type == "None" {
					has.Type = "" // both mean nothing
				}
				if diff := cmp.Diff(test.want, visible); diff != "" {
					t.Errorf("attached (-want +got):\n%s", diff)
				}
				if has.Type != test.wantType {
					t.Errorf("type %q, want %q", has.Type, test.wantType)
				}
				if got := patches(e); got != test.wantPatches {
					t.Errorf("%d PATCHes, want %d", got, test.wantPatches)
				}
			})
		}
	}
}

// see is what a VM or scale set has, and the names of what its machines know.
func see(e *azemu.Emulator, target string) (azemu.Assigned, []string) {
	s := e.State()
	has, ids := s.VMs[0].Identity, s.VMs[0].Visible
	if target == setID {
		has, ids = s.ScaleSets[0].Identity, s.ScaleSets[0].Visible
	}
	var names []string
	for _, id := range ids {
		names = append(names, id[strings.LastIndex(id, "/")+1:])
	}
	if has == nil {
		has = &azemu.Assigned{}
	}
	return *has, names
}

func patches(e *azemu.Emulator) int {
	return e.Counters()[azemu.EndpointVMPatch].Calls + e.Counters()[azemu.EndpointVMSSPatch].Calls
}

func TestUpdateReturnsWhenTheMachinesKnow(t *testing.T) {
	t.Parallel()
	e, c := start(t, azemu.Config{ARMDelay: 700 * time.Millisecond}, azemu.Assigned{}, "a")
	s, err := c.Get(t.Context(), scope(t, setID))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Update(t.Context(), scope(t, setID), s, []string{id("a")}, nil); err != nil {
		t.Fatal(err)
	}
	if _, visible := see(e, setID); len(visible) != 1 {
		t.Errorf("the machines know %v", visible)
	}
}

func TestManyChangesAreSeveralPatches(t *testing.T) {
	t.Parallel()
	var names, ids []string
	for i := range compute.MaxChanges + 1 {
		names = append(names, fmt.Sprintf("id-%d", i))
		ids = append(ids, id(names[i]))
	}
	e, c := start(t, azemu.Config{}, azemu.Assigned{}, names...)
	s, err := c.Get(t.Context(), scope(t, setID))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Update(t.Context(), scope(t, setID), s, ids, nil); err != nil {
		t.Fatal(err)
	}
	if _, visible := see(e, setID); len(visible) != len(ids) || patches(e) != 2 {
		t.Errorf("%d identities after %d PATCHes, want %d after 2", len(visible), patches(e), len(ids))
	}
}

func TestUpdateSaysWhatHasBeenDone(t *testing.T) {
	var names, ids []string
	for i := range 2*compute.MaxChanges + 1 {
		names = append(names, fmt.Sprintf("id-%d", i))
		ids = append(ids, id(names[i]))
	}
	first, second := ids[:compute.MaxChanges], ids[compute.MaxChanges:]
	for sentence, test := range map[string]struct {
		known []string // the identities that exist
		fault azemu.Fault
		want  compute.Changes
	}{
		"all":                         {known: names, want: compute.Changes{Done: ids}},
		"the first of three PATCHes":  {known: names[:compute.MaxChanges], want: compute.Changes{Done: first, Not: second}},
		"perhaps the first, not more": {known: names, fault: azemu.Fault{Code: "InternalError", Times: 1}, want: compute.Changes{Not: second}},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			e, c := start(t, azemu.Config{}, azemu.Assigned{}, test.known...)
			if test.fault.Code != "" {
				if err := e.SetFault(azemu.EndpointOperationEnd, test.fault); err != nil {
					t.Fatal(err)
				}
			}
			s, err := c.Get(t.Context(), scope(t, setID))
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Update(t.Context(), scope(t, setID), s, ids, nil)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Update() (-want +got):\n%s", diff)
			}
			if (err == nil) != (len(got.Not) == 0) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestWhatIsOnItsWayIsNotThere(t *testing.T) {
	t.Parallel()
	e, c := start(t, azemu.Config{}, azemu.Assigned{}, "a", "b")
	if err := e.SetFault(azemu.EndpointOperationEnd, azemu.Fault{Delay: azemu.Duration(time.Hour), Times: 1}); err != nil {
		t.Fatal(err)
	}
	if err := e.SetFault(azemu.EndpointOperationGet, azemu.Fault{Status: 403}); err != nil {
		t.Fatal(err)
	}
	s, err := c.Get(t.Context(), scope(t, setID))
	if err != nil || !s.Certain() {
		t.Fatalf("before: %+v, %v", s, err)
	}
	changes, err := c.Update(t.Context(), scope(t, setID), s, []string{id("a")}, nil)
	if err == nil || len(changes.Done)+len(changes.Not) > 0 {
		t.Errorf("Update() = %+v, %v, want an error and that nothing is known", changes, err)
	}
	_, err = c.Get(t.Context(), scope(t, setID))
	if got, ok := errors.AsType[*compute.Error](err); !ok || got.Kind != compute.Conflict || !strings.Contains(got.Error(), "Updating") {
		t.Errorf("while the operation is under way Get says %v, want a conflict", err)
	}
}

func TestErrorsSayWhatCanBeDone(t *testing.T) {
	for name, test := range map[string]struct {
		on       string // scope
		endpoint string
		fault    azemu.Fault
		attach   string
		stale    bool
		want     compute.Error
		says     string
	}{
		"no such scale set": {
			on:   setID + "-gone",
			want: compute.Error{Kind: compute.NotFound, Gone: true}, says: "read scale set group/pool-gone: 404 ResourceNotFound: ",
		},
		"no such resource group, which says nothing about the scale set": {
			endpoint: azemu.EndpointVMSSGet, fault: azemu.Fault{Status: 404, Code: "ResourceGroupNotFound"},
			want: compute.Error{Kind: compute.NotFound}, says: "404 ResourceGroupNotFound",
		},
		"no such operation, which says nothing about the scale set": {
			endpoint: azemu.EndpointOperationGet, fault: azemu.Fault{Status: 404, Code: "ResourceNotFound"},
			want: compute.Error{Kind: compute.NotFound}, says: "404 ResourceNotFound",
		},
		"a request that took too long, which may have done it": {
			endpoint: azemu.EndpointVMSSPatch, fault: azemu.Fault{Status: 408},
			want: compute.Error{Kind: compute.Other}, says: "408",
		},
		"asked to stay away for a day": {
			endpoint: azemu.EndpointVMSSPatch, fault: azemu.Fault{Status: 429, RetryAfter: azemu.Duration(24 * time.Hour)},
			want: compute.Error{Kind: compute.Throttled, Refused: true, RetryAfter: 30 * time.Minute}, says: "429",
		},
		"somebody else has written": {
			stale: true, endpoint: azemu.EndpointVMSSPatch, fault: azemu.Fault{Status: 412, Code: "PreconditionFailed", Message: "Etag provided in if-match header is another."},
			want: compute.Error{Kind: compute.Conflict, Refused: true}, says: "change scale set group/pool: 412 PreconditionFailed: Etag provided in if-match header",
		},
		"somebody else is writing": {
			endpoint: azemu.EndpointVMSSPatch, fault: azemu.Fault{Status: 409, Code: "ConflictingConcurrentWriteNotAllowed"},
			want: compute.Error{Kind: compute.Conflict, Refused: true}, says: "409 ConflictingConcurrentWriteNotAllowed",
		},
		"asked too much": {
			endpoint: azemu.EndpointVMSSPatch, fault: azemu.Fault{Status: 429, Code: "OperationNotAllowed", RetryAfter: azemu.Duration(70 * time.Second)},
			want: compute.Error{Kind: compute.Throttled, Refused: true, RetryAfter: 70 * time.Second}, says: "429",
		},
		"no such identity": {
			attach: "unknown",
			want:   compute.Error{Kind: compute.BadIdentity, Refused: true}, says: "change scale set group/pool: check that the identity exists, and give mic's identity the role Managed Identity Operator on " + id("unknown") + " (400 FailedIdentityOperation: ",
		},
		"no right to write": {
			endpoint: azemu.EndpointVMSSPatch, fault: azemu.Fault{Status: 403, Code: "AuthorizationFailed", Message: "no right"},
			want: compute.Error{Kind: compute.Forbidden, Refused: true}, says: "give mic's identity the role Virtual Machine Contributor on resource group group of subscription 11111111-1111-1111-1111-111111111111 (403 AuthorizationFailed: no right)",
		},
		"a fault inside Azure, which may have done it": {
			endpoint: azemu.EndpointVMSSPatch, fault: azemu.Fault{Status: 500},
			want: compute.Error{Kind: compute.Other}, says: "500",
		},
		"an operation that fails, which may have done it": {
			endpoint: azemu.EndpointOperationEnd, fault: azemu.Fault{Code: "OperationPreempted", Message: "a newer one came"},
			want: compute.Error{Kind: compute.Conflict}, says: "OperationPreempted: a newer one came",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, c := start(t, azemu.Config{ARMDelay: 100 * time.Millisecond}, azemu.Assigned{}, "a")
			if test.endpoint != "" {
				if err := e.SetFault(test.endpoint, test.fault); err != nil {
					t.Fatal(err)
				}
			}
			if test.on == "" {
				test.on = setID
			}
			if test.attach == "" {
				test.attach = "a"
			}
			s, err := c.Get(t.Context(), scope(t, test.on))
			if err == nil {
				if test.stale {
					s.ETag = `"999"`
				}
				_, err = c.Update(t.Context(), scope(t, test.on), s, []string{id(test.attach)}, nil)
			}
			got, ok := errors.AsType[*compute.Error](err)
			if !ok {
				t.Fatalf("error = %v, want a *compute.Error", err)
			}
			summary := compute.Error{Kind: got.Kind, Refused: got.Refused, RetryAfter: got.RetryAfter, Gone: got.Gone}
			if diff := cmp.Diff(test.want, summary, cmpopts.IgnoreUnexported(compute.Error{})); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if text := got.Error(); !strings.Contains(text, test.says) || strings.Contains(text, "\n") {
				t.Errorf("it says %q, want %q in it and one line", text, test.says)
			}
		})
	}
}

func TestAPatchIsSentOnceAndAReadAgain(t *testing.T) {
	t.Parallel()
	e, c := start(t, azemu.Config{}, azemu.Assigned{}, "a")
	for _, endpoint := range []string{azemu.EndpointVMSSGet, azemu.EndpointVMSSPatch} {
		if err := e.SetFault(endpoint, azemu.Fault{Status: 503, Times: 1}); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Get(t.Context(), scope(t, setID))
	if err != nil {
		t.Fatalf("a read that fails once: %v", err)
	}
	if _, err := c.Update(t.Context(), scope(t, setID), s, []string{id("a")}, nil); err == nil || patches(e) != 1 {
		t.Errorf("after %d PATCHes error %v, want 1 and an error", patches(e), err)
	}
}

func TestUpdateEndsWithItsContext(t *testing.T) {
	t.Parallel()
	e, c := start(t, azemu.Config{}, azemu.Assigned{}, "a")
	if err := e.SetFault(azemu.EndpointVMSSPatch, azemu.Fault{Hang: true}); err != nil {
		t.Fatal(err)
	}
	s, err := c.Get(t.Context(), scope(t, setID))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.Update(ctx, scope(t, setID), s, []string{id("a")}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v", err)
	}
}
