package azemu_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/internal/azemu"
)

// assign is the body that puts identities on a scale set (an object) or takes
// them away (nil).
func assign(ids map[string]*armcompute.UserAssignedIdentitiesValue) armcompute.VirtualMachineScaleSetUpdate {
	return armcompute.VirtualMachineScaleSetUpdate{
		Identity: &armcompute.VirtualMachineScaleSetIdentity{Type: new(armcompute.ResourceIdentityTypeUserAssigned), UserAssignedIdentities: ids},
	}
}

func add(ids ...string) map[string]*armcompute.UserAssignedIdentitiesValue {
	m := map[string]*armcompute.UserAssignedIdentitiesValue{}
	for _, id := range ids {
		m[id] = &armcompute.UserAssignedIdentitiesValue{}
	}
	return m
}

func update(ctx context.Context, sets *armcompute.VirtualMachineScaleSetsClient, body armcompute.VirtualMachineScaleSetUpdate) (armcompute.VirtualMachineScaleSet, error) {
	poller, err := sets.BeginUpdate(ctx, group, "pool", body, nil)
	if err != nil {
		return armcompute.VirtualMachineScaleSet{}, err
	}
	resp, err := poller.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: time.Second})
	return resp.VirtualMachineScaleSet, err
}

func TestSDKAttachesAndDetaches(t *testing.T) {
	t.Parallel()
	w := start(t, azemu.Config{ARMDelay: 500 * time.Millisecond})
	sets := w.compute(t).NewVirtualMachineScaleSetsClient()

	poller, err := sets.BeginUpdate(t.Context(), group, "pool", assign(add(identities+"one", strings.ToUpper(identities)+"two")), nil)
	if err != nil {
		t.Fatalf("BeginUpdate: %v", err)
	}
	if poller.Done() {
		t.Error("the operation was done at once, in spite of ARMDelay")
	}
	resp, err := poller.PollUntilDone(t.Context(), &runtime.PollUntilDoneOptions{Frequency: time.Second})
	if err != nil {
		t.Fatalf("PollUntilDone: %v", err)
	}
	listed := strings.Replace(identities, "resourceGroups", "resourcegroups", 1)
	if diff := cmp.Diff("client-1", *resp.Identity.UserAssignedIdentities[listed+"one"].ClientID); diff != "" {
		t.Errorf("client id (-want +got):\n%s", diff)
	}
	for _, machine := range []string{"pool000000", "POOL000001"} {
		if status, body := askIMDS(t, w.Emulator, machine, tokenQuery("client-1")); status != http.StatusOK {
			t.Errorf("IMDS of %s = %d %v after the operation", machine, status, body)
		}
	}
	got, err := update(t.Context(), sets, assign(map[string]*armcompute.UserAssignedIdentitiesValue{identities + "one": nil}))
	if err != nil {
		t.Fatalf("detach: %v", err)
	}
	if n := len(got.Identity.UserAssignedIdentities); n != 1 {
		t.Errorf("%d identities are left, want 1", n)
	}
	if status, body := askIMDS(t, w.Emulator, "pool000000", tokenQuery("client-1")); status != http.StatusBadRequest || body["error_description"] != "Identity not found" {
		t.Errorf("IMDS after detaching = %d %v", status, body)
	}
	if status, _ := askIMDS(t, w.Emulator, "pool000000", tokenQuery("client-2")); status != http.StatusOK {
		t.Errorf("IMDS lost the identity that stayed: %d", status)
	}
}

func TestSDKOnVM(t *testing.T) {
	t.Parallel()
	w := start(t, azemu.Config{})
	vms := w.compute(t).NewVirtualMachinesClient()
	poller, err := vms.BeginUpdate(t.Context(), group, "single", armcompute.VirtualMachineUpdate{Identity: &armcompute.VirtualMachineIdentity{
		Type:                   new(armcompute.ResourceIdentityTypeSystemAssignedUserAssigned),
		UserAssignedIdentities: add(identities + "one"),
	}}, nil)
	if err != nil {
		t.Fatalf("BeginUpdate: %v", err)
	}
	if !poller.Done() {
		t.Error("the operation is not done at once, without an ARMDelay")
	}
	if _, err := poller.PollUntilDone(t.Context(), nil); err != nil {
		t.Fatalf("PollUntilDone: %v", err)
	}
	got, err := vms.Get(t.Context(), group, "SINGLE", nil)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	if *got.Identity.Type != armcompute.ResourceIdentityTypeSystemAssignedUserAssigned || *got.Identity.PrincipalID == "" {
		t.Errorf("identity = %v", *got.Identity)
	}
	if status, body := askIMDS(t, w.Emulator, "single", tokenQuery("client-1")); status != http.StatusOK {
		t.Errorf("IMDS = %d %v", status, body)
	}
}

func TestSDKReadsInstance(t *testing.T) {
	t.Parallel()
	w := start(t, azemu.Config{})
	got, err := w.compute(t).NewVirtualMachineScaleSetVMsClient().Get(t.Context(), group, "pool", "1", nil)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	if *got.InstanceID != "1" || *got.Properties.OSProfile.ComputerName != "pool000001" || *got.Properties.VMID == "" {
		t.Errorf("instance = %v %v %v", *got.InstanceID, *got.Properties.OSProfile.ComputerName, *got.Properties.VMID)
	}
}

func TestPatchErrors(t *testing.T) {
	t.Parallel()
	many := make([]string, 151)
	for i := range many {
		many[i] = fmt.Sprintf("%smany-%d", identities, i)
	}
	tests := map[string]struct {
		set     string
		body    armcompute.VirtualMachineScaleSetUpdate
		ifMatch string
		status  int
		code    string
		text    string
	}{
		"an ETag of another version": {
			body: assign(add(identities + "one")), ifMatch: `"7"`, status: 412, code: "PreconditionFailed",
			text: `Etag provided in if-match header \"7\" does not match etag \"1\" of resource.`,
		},
		"more changes than one request may hold": {
			body: assign(add(many...)), status: 400, code: "FailedIdentityOperation",
			text: "User Assigned Identities Number '151' Assign exceed limit '150' in one request.",
		},
		"an identity that does not exist": {
			body: assign(add(identities+"one", identities+"ghost")), status: 400, code: "FailedIdentityOperation",
			text: "/ghost' was not found",
		},
		"an identity that nobody may assign": {
			body: assign(add(identities + "forbidden")), status: 403, code: "LinkedAuthorizationFailed",
			text: "object id '" + appObject + "'",
		},
		"an id of something else": {
			body: assign(add(vmID)), status: 400, code: "InvalidParameter", text: "is not a valid reference",
		},
		"a scale set that does not exist": {
			set: "ghost", body: assign(add(identities + "one")), status: 404, code: "ResourceNotFound",
			text: "Microsoft.Compute/virtualMachineScaleSets/ghost",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, azemu.Config{})
			o := &armcompute.VirtualMachineScaleSetsClientBeginUpdateOptions{}
			if tt.ifMatch != "" {
				o.IfMatch = &tt.ifMatch
			}
			if tt.set == "" {
				tt.set = "pool"
			}
			_, err := w.compute(t).NewVirtualMachineScaleSetsClient().BeginUpdate(t.Context(), group, tt.set, tt.body, o)
			checkARMError(t, err, tt.status, tt.code, tt.text)
			if s := w.State().ScaleSets[0]; s.Identity.Type != "None" || s.ETag != `"1"` {
				t.Errorf("a refused PATCH changed the scale set: %v, ETag %s", s.Identity, s.ETag)
			}
		})
	}
}

func checkARMError(t *testing.T, err error, status int, code, text string) {
	t.Helper()
	var e *azcore.ResponseError
	if !errors.As(err, &e) {
		t.Fatalf("error = %v, want a ResponseError", err)
	}
	if e.StatusCode != status || e.ErrorCode != code || !strings.Contains(e.Error(), text) {
		t.Errorf("error = %d %s, want %d %s with %q\n%v", e.StatusCode, e.ErrorCode, status, code, text, err)
	}
}

func TestOneOperationAtATime(t *testing.T) {
	t.Parallel()
	w := start(t, azemu.Config{ARMDelay: time.Hour})
	sets := w.compute(t).NewVirtualMachineScaleSetsClient()
	body := assign(add(identities + "one"))
	if _, err := sets.BeginUpdate(t.Context(), group, "pool", body, nil); err != nil {
		t.Fatalf("first BeginUpdate: %v", err)
	}
	got, err := sets.Get(t.Context(), group, "pool", nil)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	if *got.Properties.ProvisioningState != "Updating" || len(got.Identity.UserAssignedIdentities) != 1 || *got.Etag != `"2"` {
		t.Errorf("while updating: state %s, %d identities, ETag %s", *got.Properties.ProvisioningState, len(got.Identity.UserAssignedIdentities), *got.Etag)
	}
	_, err = sets.BeginUpdate(t.Context(), group, "pool", body, nil)
	checkARMError(t, err, 409, "Conflict", "conflict with a concurrent request")

	w.Close()
	s := w.State().ScaleSets[0]
	if s.ProvisioningState != "Canceled" || len(s.Visible) != 0 {
		t.Errorf("after Close: %s, IMDS knows %v", s.ProvisioningState, s.Visible)
	}
}

func TestOperationFails(t *testing.T) {
	t.Parallel()
	w := start(t, azemu.Config{ARMDelay: 100 * time.Millisecond})
	if err := w.SetFault(azemu.EndpointOperationEnd, azemu.Fault{Code: "VMExtensionProvisioningError", Message: "told to", Times: 1}); err != nil {
		t.Fatal(err)
	}
	sets := w.compute(t).NewVirtualMachineScaleSetsClient()
	body := assign(add(identities + "one"))
	if _, err := update(t.Context(), sets, body); err == nil || !strings.Contains(err.Error(), "VMExtensionProvisioningError") {
		t.Errorf("error = %v, want the fault's code", err)
	}
	if s := w.State().ScaleSets[0]; s.ProvisioningState != "Failed" || len(s.Visible) != 0 {
		t.Errorf("after a failure: %s, IMDS knows %v", s.ProvisioningState, s.Visible)
	}
	if _, err := update(t.Context(), sets, body); err != nil {
		t.Errorf("the next PATCH: %v", err)
	}
}

// Time is synctest's here: what must not be seen before the delay is over is
// not seen one nanosecond before.
func TestIMDSKnowsAtTheEndOfTheOperation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e, err := azemu.New(azemu.Config{ARMDelay: 3 * time.Second, Seed: seed()})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		begin := time.Now()
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPatch, vmssID+"?api-version=2024-11-01",
			strings.NewReader(`{"identity":{"type":"userassigned","userAssignedIdentities":{"`+identities+`one":{}}}}`))
		req.Header.Set("Authorization", localBearer(t, e))
		rec := httptest.NewRecorder()
		e.Azure().ServeHTTP(rec, req)
		if rec.Code != http.StatusOK || rec.Header().Get("Retry-After") != "1" {
			t.Fatalf("PATCH = %d %s, Retry-After %q", rec.Code, rec.Body, rec.Header().Get("Retry-After"))
		}
		time.Sleep(3*time.Second - 1)
		if status, _ := askIMDS(t, e, "pool000000", tokenQuery("client-1")); status != http.StatusBadRequest {
			t.Errorf("IMDS before the end = %d, want 400", status)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if status, body := askIMDS(t, e, "pool000000", tokenQuery("client-1")); status != http.StatusOK {
			t.Errorf("IMDS at the end = %d %v, want 200", status, body)
		}
		var patched, ended time.Duration
		for _, ev := range e.Events() {
			switch ev.Endpoint {
			case azemu.EndpointVMSSPatch:
				patched = ev.Time.Sub(begin)
			case azemu.EndpointOperationEnd:
				ended = ev.Time.Sub(begin)
			}
		}
		if patched != 0 || ended != 3*time.Second {
			t.Errorf("log says PATCH at %s and end at %s, want 0s and 3s", patched, ended)
		}
	})
}

// localBearer gets a token without a network.
func localBearer(t *testing.T, e *azemu.Emulator) string {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/"+tenant+"/oauth2/v2.0/token",
		strings.NewReader("grant_type=client_credentials&client_id="+appID+"&client_secret=old&scope="+management+"/.default"))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec := httptest.NewRecorder()
	e.Azure().ServeHTTP(rec, req)
	token, _ := decode(t, rec.Body)["access_token"].(string)
	if token == "" {
		t.Fatalf("no token: %d %s", rec.Code, rec.Body)
	}
	return "Bearer " + token
}

func TestARMAnswersAsAzureDoes(t *testing.T) {
	t.Parallel()
	w := start(t, azemu.Config{})
	bearer := w.bearer(t)
	foreign := localBearer(t, newEmulator(t, azemu.Config{Seed: seed()}))
	expired := "" // of synctest's time, which is long ago
	synctest.Test(t, func(t *testing.T) { expired = localBearer(t, w.Emulator) })
	tests := map[string]struct {
		method, path, authorization string
		body                        string
		status                      int
		code                        string
	}{
		"no api-version":                         {path: vmssID, authorization: bearer, status: 400, code: "MissingApiVersionParameter"},
		"no token":                               {path: vmssID + "?api-version=1", status: 401, code: "AuthenticationFailed"},
		"a token of nobody":                      {path: vmssID + "?api-version=1", authorization: "Bearer x.y.z", status: 401, code: "InvalidAuthenticationToken"},
		"a token that another key signed":        {path: vmssID + "?api-version=1", authorization: foreign, status: 401, code: "InvalidAuthenticationToken"},
		"a token that has expired":               {path: vmssID + "?api-version=1", authorization: expired, status: 401, code: "InvalidAuthenticationToken"},
		"a path in any case":                     {path: strings.ToUpper(vmssID) + "?api-version=1", authorization: bearer, status: 200},
		"an unknown VM":                          {path: vmID + "x?api-version=1", authorization: bearer, status: 404, code: "ResourceNotFound"},
		"an unknown type":                        {path: inGroup + "/providers/Microsoft.Compute/toasters/a?api-version=1", authorization: bearer, status: 404, code: "InvalidResourceType"},
		"an unknown method":                      {method: "DELETE", path: vmID + "?api-version=1", authorization: bearer, status: 405, code: "HttpMethodNotAllowed"},
		"no resource at all":                     {path: "/nothing?api-version=1", authorization: bearer, status: 404, code: "InvalidRequestUri"},
		"an unknown operation":                   {path: "/subscriptions/s/providers/Microsoft.Compute/locations/l/operations/o?api-version=1", authorization: bearer, status: 404, code: "NotFound"},
		"an identity":                            {path: identities + "one?api-version=1", authorization: bearer, status: 200},
		"a list of identities":                   {path: strings.TrimSuffix(identities, "/") + "?api-version=1", authorization: bearer, status: 200},
		"an identity without a location":         {method: "PUT", path: identities + "n?api-version=1", body: "{}", authorization: bearer, status: 400, code: "LocationRequired"},
		"a new identity":                         {method: "PUT", path: identities + "new?api-version=1", body: `{"location":"westus"}`, authorization: bearer, status: 201},
		"an identity that is no more":            {method: "DELETE", path: identities + "gone?api-version=1", authorization: bearer, status: 204},
		"a PATCH without JSON":                   {method: "PATCH", path: vmID + "?api-version=1", body: "{", authorization: bearer, status: 400, code: "InvalidRequestContent"},
		"UserAssigned without any identity":      {method: "PATCH", path: vmID + "?api-version=1", body: `{"identity":{"type":"UserAssigned"}}`, authorization: bearer, status: 400, code: "InvalidIdentityValues"},
		"a type that is none":                    {method: "PATCH", path: vmID + "?api-version=1", body: `{"identity":{"type":"Borrowed"}}`, authorization: bearer, status: 400, code: "InvalidParameter"},
		"an identity whose value is not {}":      {method: "PATCH", path: vmID + "?api-version=1", body: `{"identity":{"type":"UserAssigned","userAssignedIdentities":{"` + identities + `one":1}}}`, authorization: bearer, status: 400, code: "InvalidIdentityValues"},
		"an identity that is named twice":        {method: "PATCH", path: vmID + "?api-version=1", body: `{"identity":{"type":"UserAssigned","userAssignedIdentities":{"` + identities + `one":{},"` + identities + `ONE":{}}}}`, authorization: bearer, status: 400, code: "InvalidParameter"},
		"a PATCH that does not concern identity": {method: "PATCH", path: vmID + "?api-version=1", body: `{"tags":{"a":"b"}}`, authorization: bearer, status: 200},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.method == "" {
				tt.method = http.MethodGet
			}
			req, err := http.NewRequestWithContext(t.Context(), tt.method, w.url+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", tt.authorization)
			status, header, body := w.call(t, req)
			detail, _ := body["error"].(map[string]any)
			code, _ := detail["code"].(string)
			if status != tt.status || code != tt.code {
				t.Errorf("answer = %d %s, want %d %s\n%v", status, code, tt.status, tt.code, body)
			}
			if header.Get("X-Ms-Request-Id") == "" || status == 401 && header.Get("WWW-Authenticate") == "" {
				t.Errorf("headers lack a request id or a challenge: %v", header)
			}
		})
	}
}

func TestARMWantsItsOwnAudience(t *testing.T) {
	t.Parallel()
	s := seed()
	s.VMs[0].Identity = &azemu.Assigned{UserAssigned: []string{identities + "one"}}
	w := start(t, azemu.Config{Seed: s})
	tests := map[string]struct {
		resource string
		status   int
	}{
		"management":                    {management, 200},
		"management with a slash":       {management + "/", 200},
		"the older name":                {"https://management.core.windows.net/", 200},
		"the emulator itself":           {w.url, 200},
		"a vault's token opens nothing": {"https://vault.azure.net", 401},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			q := tokenQuery("client-1")
			q.Set("resource", tt.resource)
			_, body := askIMDS(t, w.Emulator, "single", q)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+vmID+"?api-version=1", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", fmt.Sprint("Bearer ", body["access_token"]))
			if status, _, body := w.call(t, req); status != tt.status {
				t.Errorf("status = %d, want %d: %v", status, tt.status, body)
			}
		})
	}
}
