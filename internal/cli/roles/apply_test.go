package roles_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/cli/roles"
	pure "github.com/podid-io/podid/internal/roles"
)

// owner gives the administrator a role in place of Owner on the subscription.
func (w *world) owner(t *testing.T, instead ...azemu.RoleAssignment) {
	t.Helper()
	s := w.azure.State()
	s.Apps[0].Secrets, s.Apps[1].Secrets = []string{"secret"}, []string{"mic's secret"} // which State leaves out
	s.RoleAssignments = nil
	for _, a := range instead {
		a.PrincipalID = adminObject
		s.RoleAssignments = append(s.RoleAssignments, a)
	}
	must(t, w.azure.SetState(s))
}

func TestWhatCannotBeMadeHoldsUpNothingElse(t *testing.T) {
	w := newWorld(t)
	w.owner(t,
		azemu.RoleAssignment{Scope: subscription, Role: "Reader"},
		azemu.RoleAssignment{Scope: identities + "one", Role: "User Access Administrator"},
	)
	status, out, _ := w.run("--principal-id", micObject, "--apply")
	if status != 1 || !strings.Contains(out, "1 of 3 made, 2 failed.") {
		t.Errorf("status %d: %s", status, out)
	}
	const advice = "failed: you may not assign roles there: that takes Owner, User Access Administrator or Role Based Access Control Administrator (403 AuthorizationFailed: "
	if n := strings.Count(out, advice); n != 2 {
		t.Errorf("%d pieces of advice: %s", n, out)
	}
	if n := strings.Count(out, "\naz role assignment create "); n != 2 {
		t.Errorf("%d commands for somebody who may: %s", n, out)
	}
	made := w.azure.State().RoleAssignments
	if len(made) != 3 || w.writes() != 3 {
		t.Errorf("%d writes, and there is %+v", w.writes(), made)
	}
}

func TestOwnersOfGroupsAloneSeeWhatIsThere(t *testing.T) {
	w := newWorld(t)
	w.owner(t, azemu.RoleAssignment{Scope: nodeGroup, Role: "Owner"}, azemu.RoleAssignment{Scope: appGroup, Role: "Owner"})
	if status, out, errs := w.run("--principal-id", micObject, "--apply"); status != 0 || !strings.Contains(out, "3 of 3 made") {
		t.Errorf("status %d: %s%s", status, out, errs)
	}
	if status, out, errs := w.run("--principal-id", micObject); status != 0 || strings.Count(out, " present\n") != 3 {
		t.Errorf("again, status %d: %s%s", status, out, errs)
	}
	w.owner(t, azemu.RoleAssignment{Scope: nodeGroup, Role: "Owner"})
	status, out, errs := w.run("--principal-id", micObject)
	if status != 2 || strings.Count(out, " missing\n") != 1 || !strings.Contains(out, " unknown: list the role assignments of "+identities+"one: 403 AuthorizationFailed: The client '"+adminObject+"'") {
		t.Errorf("without the identities' group, status %d: %s%s", status, out, errs)
	}
	if status, out, errs := w.run("--principal-id", micObject, "--apply"); status != 2 || !strings.Contains(out, "1 of 1 made") {
		t.Errorf("what can be made there, status %d: %s%s", status, out, errs)
	}
}

func TestWhatAzureDoesNotKnowYetIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	must(t, w.azure.SetFault(azemu.EndpointRoleAssignmentPut, azemu.Fault{Status: 400, Code: "PrincipalNotFound", Times: 1}))
	if status, out, errs := w.run("--principal-id", micObject, "--apply"); status != 0 || w.writes() != 4 {
		t.Errorf("status %d after %d writes: %s%s", status, w.writes(), out, errs)
	}
}

func TestWhatSomebodyElseMakesMeanwhileIsPresent(t *testing.T) {
	w := newWorld(t)
	base := w.http.Transport
	w.http.Transport = tripper(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodPut && strings.HasPrefix(strings.ToLower(r.URL.Path), strings.ToLower(nodeGroup)+"/providers/microsoft.authorization/") {
			if err := w.azure.MergeState(azemu.State{RoleAssignments: []azemu.RoleAssignment{{Scope: nodeGroup, PrincipalID: micObject, Role: "Virtual Machine Contributor"}}}); err != nil {
				return nil, err
			}
		}
		return base.RoundTrip(r)
	})
	status, out, _ := w.run("--principal-id", micObject, "--apply")
	if status != 0 || !strings.Contains(out, " present\n") || !strings.Contains(out, "2 of 2 made, 0 failed.") {
		t.Errorf("status %d: %s", status, out)
	}
}

func TestWhatAzureSaysIsThereAndDoesNotShowIsNotPresent(t *testing.T) {
	w := newWorld(t)
	must(t, w.azure.SetFault(azemu.EndpointRoleAssignmentPut, azemu.Fault{Status: 409, Code: "RoleAssignmentExists", Times: 1}))
	w.says(t, 1, []string{"--principal-id", micObject, "--apply"}, "failed: Azure says that it is there, and does not show it yet: run this again", "2 of 3 made, 1 failed.")
}

func TestACustomRoleThatLacksAnActionGetsIt(t *testing.T) {
	w := newWorld(t)
	name := pure.Machines.Custom(strings.TrimPrefix(subscription, "/subscriptions/"))
	must(t, w.azure.MergeState(azemu.State{
		RoleDefinitions: []azemu.RoleDefinition{{
			RoleName: name, AssignableScopes: []string{subscription},
			Permissions: []pure.Permission{{Actions: pure.Machines.Actions()[:1]}},
		}},
		RoleAssignments: []azemu.RoleAssignment{{Scope: nodeGroup, PrincipalID: micObject, Role: name}},
	}))
	status, out, _ := w.run("--principal-id", micObject, "--least-privilege")
	if status != 1 || !strings.Contains(out, "\naz rest --method put --url '"+subscription+"/providers/Microsoft.Authorization/roleDefinitions/") {
		t.Errorf("status %d: %s", status, out)
	}
	if status, out, errs := w.run("--principal-id", micObject, "--least-privilege", "--apply"); status != 0 || len(w.azure.State().RoleDefinitions) != 2 {
		t.Errorf("--apply: status %d: %s%s", status, out, errs)
	}
	if err := attach(t, w.mic(t), "one"); err != nil {
		t.Error(err)
	}
}

func TestACustomRoleThatWasWidenedSinceIsChanged(t *testing.T) {
	w := newWorld(t)
	name := pure.Machines.Custom(strings.TrimPrefix(subscription, "/subscriptions/"))
	who := []string{"--principal-id", micObject, "--least-privilege"}
	w.says(t, 0, append(who, "--apply"), "3 of 3 made")
	s := w.azure.State()
	s.Apps[0].Secrets, s.Apps[1].Secrets = []string{"secret"}, []string{"mic's secret"} // which State leaves out
	for i := range s.RoleDefinitions {
		if s.RoleDefinitions[i].RoleName == name {
			s.RoleDefinitions[i].Permissions = []pure.Permission{{Actions: []string{"*"}}}
		}
	}
	must(t, w.azure.SetState(s))
	w.says(t, 1, who, "No assignment is missing; of the custom roles, 1 to be made or changed.", "\naz rest --method put --url '"+subscription+"/providers/Microsoft.Authorization/roleDefinitions/")
	must(t, w.azure.SetFault(azemu.EndpointRoleDefinitionPut, azemu.Fault{Status: 400, Code: "RoleDefinitionLimitExceeded", Message: "no more", Times: 1}))
	w.says(t, 1, append(who, "--apply"), "1 to be made or changed.", "# failed: 400 RoleDefinitionLimitExceeded: no more\naz rest ")
	w.says(t, 0, append(who, "--apply"), "Nothing is missing.")
	for _, d := range w.azure.State().RoleDefinitions {
		if d.RoleName == name && len(d.Permissions[0].Actions) != len(pure.Machines.Actions()) {
			t.Errorf("left as %+v", d)
		}
	}
	w.says(t, 0, who, "Nothing is missing.")
}

func TestWithoutItsCustomRoleNothingIsAssigned(t *testing.T) {
	w := newWorld(t)
	must(t, w.azure.SetFault(azemu.EndpointRoleDefinitionPut, azemu.Fault{Status: 400, Code: "RoleDefinitionLimitExceeded", Message: "no more"}))
	status, out, _ := w.run("--principal-id", micObject, "--least-privilege", "--apply")
	if status != 1 || strings.Count(out, "failed: its role could not be made") != 3 || !strings.Contains(out, "# failed: 400 RoleDefinitionLimitExceeded: no more\naz rest --method put --url ") {
		t.Errorf("status %d: %s", status, out)
	}
}

func TestPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for code, want := range map[string]time.Duration{"PrincipalNotFound": roles.LongestWait, "RoleDefinitionDoesNotExist": roles.LongestWait, "AuthorizationFailed": 0, "": 0} {
			var err error
			if code != "" {
				err = &azcore.ResponseError{ErrorCode: code}
			}
			patience, cancel := context.WithTimeout(t.Context(), roles.LongestWait)
			start, tries := time.Now(), 0
			got := roles.Patiently(patience, func() error { tries++; return err })
			cancel()
			if !errors.Is(got, err) || time.Since(start) != want || tries > 8 {
				t.Errorf("%s: %v after %s and %d tries", code, got, time.Since(start), tries)
			}
		}
	})
}
