package compute_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
		"none": {
			azemu.EndpointVMSSPatch,
			azemu.Fault{Status: 400, Code: "InvalidParameter", Message: "Something in " + base + "Microsoft.Compute/virtualMachineScaleSets/pool is wrong."},
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
