package compute_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/compute"
)

func TestErrorsNameTheIdentities(t *testing.T) {
	const linked = "The client 'c' with object id 'o' has permission to perform action 'Microsoft.Compute/virtualMachineScaleSets/write' on scope '" + base + "Microsoft.Compute/virtualMachineScaleSets/pool'; however, it does not have permission to perform action(s) 'Microsoft.ManagedIdentity/userAssignedIdentities/assign/action' on the linked scope(s) 'ONE,TWO' (respectively) or the linked scope(s) are invalid."
	one, two := base+"Microsoft.ManagedIdentity/userAssignedIdentities/One", base+"Microsoft.ManagedIdentity/userAssignedIdentities/two_2-b"
	inner, err := json.Marshal(map[string]any{"error": map[string]string{"code": "BadRequest", "message": "Resource '" + one + "' was not found."}})
	if err != nil {
		t.Fatal(err)
	}
	for sentence, test := range map[string]struct {
		endpoint string
		fault    azemu.Fault
		want     []string
		advice   string
	}{
		"a list with commas": {
			azemu.EndpointVMSSPatch,
			azemu.Fault{Status: 403, Code: "LinkedAuthorizationFailed", Message: strings.NewReplacer("ONE", one, "TWO", two).Replace(linked)},
			[]string{one, two},
			"on it",
		},
		"one, twice": {
			azemu.EndpointVMSSPatch,
			azemu.Fault{Status: 403, Code: "LinkedAuthorizationFailed", Message: strings.NewReplacer("ONE", one, "TWO", strings.ToUpper(one)).Replace(linked)},
			[]string{one},
			"give mic's identity the role Managed Identity Operator on " + id("one"),
		},
		"JSON within JSON": {
			azemu.EndpointVMSSPatch,
			azemu.Fault{Status: 400, Code: "FailedIdentityOperation", Message: "Failed to perform resource identity operation. Status: 'BadRequest'. Response: '" + string(inner) + "'."},
			[]string{one},
			"give mic's identity the role Managed Identity Operator on " + id("one"),
		},
		"an operation that fails": {
			azemu.EndpointOperationEnd,
			azemu.Fault{Code: "FailedIdentityOperation", Message: "Resource '" + two + "' was not found."},
			[]string{two},
			"give mic's identity the role Managed Identity Operator on " + id("two_2-b"),
		},
		"a name that is none, which begins with that of another": {
			azemu.EndpointVMSSPatch,
			azemu.Fault{Status: 400, Code: "FailedIdentityOperation", Message: "Resources '" + one + ".x', '" + one + ";x', '" + one + "$(id)' and '" + one + "/x' were not found."},
			nil,
			"on it",
		},
		"the same, and one that is one": {
			azemu.EndpointVMSSPatch,
			azemu.Fault{Status: 403, Code: "LinkedAuthorizationFailed", Message: strings.NewReplacer("ONE", one+".x", "TWO", two).Replace(linked)},
			[]string{two},
			"give mic's identity the role Managed Identity Operator on " + id("two_2-b"),
		},
		"in double quotes, and at the end": {
			azemu.EndpointVMSSPatch,
			azemu.Fault{Status: 400, Code: "FailedIdentityOperation", Message: "Resource \"" + one + "\" was not found, like " + two},
			[]string{one, two},
			"on it",
		},
		"none": {
			azemu.EndpointVMSSPatch,
			azemu.Fault{Status: 400, Code: "InvalidParameter", Message: "The value of parameter identity of " + base + "Microsoft.Compute/virtualMachineScaleSets/pool is invalid."},
			nil, "on it",
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			e, c := start(t, azemu.Config{ARMDelay: 50 * time.Millisecond}, azemu.Assigned{}, "a")
			if err := e.SetFault(test.endpoint, test.fault); err != nil {
				t.Fatal(err)
			}
			s, err := c.Get(t.Context(), scope(t, setID))
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Update(t.Context(), scope(t, setID), s, []string{id("a")}, nil)
			got, ok := errors.AsType[*compute.Error](err)
			if !ok || got.Kind != compute.BadIdentity {
				t.Fatalf("error = %v, want a bad identity", err)
			}
			for i, id := range test.want {
				test.want[i] = strings.ToLower(id)
			}
			if diff := cmp.Diff(test.want, got.Identities); diff != "" {
				t.Errorf("identities (-want +got):\n%s", diff)
			}
			if !strings.HasSuffix(got.Advice(), test.advice) {
				t.Errorf("advice %q, want %q at its end", got.Advice(), test.advice)
			}
		})
	}
}

// One that is refused has all refused, and those that are refused are all named.
func TestAllThatMayNotBeAssignedAreNamed(t *testing.T) {
	t.Parallel()
	e, c := start(t, azemu.Config{}, azemu.Assigned{}, "a", "b", "c")
	if err := e.MergeState(azemu.State{Identities: []azemu.Identity{{ID: id("a"), NoPermission: true}, {ID: id("c"), NoPermission: true}}}); err != nil {
		t.Fatal(err)
	}
	s, err := c.Get(t.Context(), scope(t, setID))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Update(t.Context(), scope(t, setID), s, []string{id("c"), id("b"), id("a")}, nil)
	got, ok := errors.AsType[*compute.Error](err)
	if !ok || got.Kind != compute.BadIdentity || !got.Refused {
		t.Fatalf("error = %v", err)
	}
	if diff := cmp.Diff([]string{id("a"), id("c")}, got.Identities); diff != "" {
		t.Errorf("identities (-want +got):\n%s", diff)
	}
	if _, visible := see(e, setID); visible != nil {
		t.Errorf("attached nevertheless: %v", visible)
	}
}

// It takes an identity from those who use it that Azure says so.
func TestOnlyWhatIsSaidNotToExistIsMissing(t *testing.T) {
	one, two := id("one"), id("two")
	operation := func(status, inner string) azemu.Fault {
		return azemu.Fault{Status: 400, Code: "FailedIdentityOperation", Message: "Failed to perform resource identity operation. Status: '" + status + "'. Response: '" + inner + "'."}
	}
	for sentence, test := range map[string]struct {
		fault azemu.Fault
		want  []string
	}{
		"in words":                            {operation("BadRequest", "Resource '"+one+"' was not found."), []string{one}},
		"in words, one of two that are named": {operation("BadRequest", "Resource '"+one+"' was not found, nor may '"+two+"' be assigned."), []string{one}},
		"in words, several":                   {operation("BadRequest", "Resource '"+one+","+two+"' was not found."), []string{one, two}},
		"by the status":                       {operation("NotFound", "There is no "+one), []string{one}},
		"not where it is forbidden":           {operation("Forbidden", "Resource '"+one+"' was not found."), nil},
		"not where others are at work":        {operation("Conflict", "Resource '"+one+"' was not found."), nil},
		"not for a bad request alone":         {operation("BadRequest", "Identity '"+one+"' is being deleted."), nil},
		"not for a right that is missing":     {azemu.Fault{Status: 403, Code: "LinkedAuthorizationFailed", Message: "Resource '" + one + "' was not found."}, nil},
		"not for a wrong value":               {azemu.Fault{Status: 400, Code: "InvalidParameter", Message: "Resource '" + one + "' was not found."}, nil},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			e, c := inMemory(t, azemu.Config{})
			if err := e.SetFault(azemu.EndpointVMSSPatch, test.fault); err != nil {
				t.Fatal(err)
			}
			s, err := c.Get(t.Context(), scope(t, setID))
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Update(t.Context(), scope(t, setID), s, []string{id("a")}, nil)
			got, ok := errors.AsType[*compute.Error](err)
			if !ok || got.Kind != compute.BadIdentity {
				t.Fatalf("error = %v, want a bad identity", err)
			}
			if diff := cmp.Diff(test.want, got.Missing); diff != "" {
				t.Errorf("missing (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatAzureSaysIsNoMoreThanItMeans(t *testing.T) {
	failed := func(status string) string {
		return "Failed to perform resource identity operation. Status: '" + status + "'. Response: '{\"error\":{\"code\":\"" + status + "\"}}'."
	}
	for sentence, test := range map[string]struct {
		endpoint string // the PATCH, where it is empty
		fault    azemu.Fault
		want     compute.Error
		advice   string
	}{
		"an identity that is not found": {
			fault: azemu.Fault{Status: 400, Code: "FailedIdentityOperation", Message: failed("NotFound")},
			want:  compute.Error{Kind: compute.BadIdentity, Refused: true}, advice: "check that the identity exists",
		},
		"a throttled identity service": {
			fault: azemu.Fault{Status: 400, Code: "FailedIdentityOperation", Message: failed("TooManyRequests")},
			want:  compute.Error{Kind: compute.Throttled, Refused: true},
		},
		"an identity service in trouble": {
			fault: azemu.Fault{Status: 400, Code: "FailedIdentityOperation", Message: failed("InternalServerError")},
			want:  compute.Error{Kind: compute.Other, Refused: true},
		},
		"the same, of an operation": {
			endpoint: azemu.EndpointOperationEnd, fault: azemu.Fault{Code: "FailedIdentityOperation", Message: failed("InternalServerError")},
			want: compute.Error{Kind: compute.Other},
		},
		"throttled, whatever the code": {
			fault: azemu.Fault{Status: 429, Code: "FailedIdentityOperation", Message: failed("BadRequest")},
			want:  compute.Error{Kind: compute.Throttled, Refused: true},
		},
		"in trouble, whatever the code": {
			fault: azemu.Fault{Status: 500, Code: "FailedIdentityOperation", Message: failed("BadRequest")},
			want:  compute.Error{Kind: compute.Other},
		},
		"a parameter that concerns no identity": {
			fault: azemu.Fault{Status: 400, Code: "InvalidParameter", Message: "The value of parameter upgradePolicy is invalid."},
			want:  compute.Error{Kind: compute.Other, Refused: true},
		},
		"a quota, which may last": {
			fault: azemu.Fault{Status: 409, Code: "OperationNotAllowed", Message: "Operation could not be completed as it results in exceeding approved quota."},
			want:  compute.Error{Kind: compute.Conflict, Refused: true, Lasting: true},
		},
		"somebody else at work": {
			fault: azemu.Fault{Status: 409, Code: "AnotherOperationInProgress"},
			want:  compute.Error{Kind: compute.Conflict, Refused: true},
		},
		"a token that is refused": {
			fault: azemu.Fault{Status: 401, Code: "InvalidAuthenticationToken", Message: "The access token is invalid."},
			want:  compute.Error{Kind: compute.Other, Refused: true}, advice: "its token was refused",
		},
		"a right to ask after operations that is missing": {
			endpoint: azemu.EndpointOperationGet, fault: azemu.Fault{Status: 403, Code: "AuthorizationFailed"},
			want: compute.Error{Kind: compute.Forbidden}, advice: "Microsoft.Compute/locations/operations/read on subscription " + subscription,
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			e, c := start(t, azemu.Config{ARMDelay: 50 * time.Millisecond}, azemu.Assigned{}, "a")
			endpoint := azemu.EndpointVMSSPatch
			if test.endpoint != "" {
				endpoint = test.endpoint
			}
			if err := e.SetFault(endpoint, test.fault); err != nil {
				t.Fatal(err)
			}
			s, err := c.Get(t.Context(), scope(t, setID))
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Update(t.Context(), scope(t, setID), s, []string{id("a")}, nil)
			got, ok := errors.AsType[*compute.Error](err)
			if !ok {
				t.Fatalf("error = %v, want a *compute.Error", err)
			}
			summary := compute.Error{Kind: got.Kind, Refused: got.Refused, Lasting: got.Lasting}
			if diff := cmp.Diff(test.want, summary, cmpopts.IgnoreUnexported(compute.Error{})); diff != "" || !strings.Contains(got.Advice(), test.advice) || test.advice == "" != (got.Advice() == "") {
				t.Errorf("%v: advice %q, want %q in it; error (-want +got):\n%s", err, got.Advice(), test.advice, diff)
			}
		})
	}
}
