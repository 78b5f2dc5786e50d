package roles_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/compute"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	got = strings.ReplaceAll(got, plane.REST().Host, "https://cluster.example")
	if *update {
		must(t, os.WriteFile(path, []byte(got), 0o600))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// attach has mic attach identities to the scale set and the VM, list them, and
// follow the operations, with the rights that it has.
func attach(t *testing.T, c *compute.Client, names ...string) error {
	t.Helper()
	for _, id := range []string{setID, vmID} {
		scope, err := assign.ParseID(id)
		must(t, err)
		all, err := c.List(t.Context(), scope.Kind, scope.Subscription, scope.ResourceGroup)
		if err != nil {
			return err
		}
		if _, ok := all[scope]; !ok {
			t.Errorf("%s is not listed", scope)
		}
		s, err := c.Get(t.Context(), scope)
		if err != nil {
			return err
		}
		var ids []string
		for _, n := range names {
			ids = append(ids, identities+n)
		}
		if _, err := c.Update(t.Context(), scope, s, ids, nil); err != nil {
			return err
		}
	}
	return nil
}

// TestWhatIsMissingIsToldMadeAndEnough is the whole of it: mic may do nothing,
// podid roles says what it lacks and makes it, and then mic may, and nothing is
// left to be made.
func TestWhatIsMissingIsToldMadeAndEnough(t *testing.T) {
	for name, flags := range map[string][]string{
		"built-in":        nil,
		"least-privilege": {"--least-privilege"},
		"resource-group":  {"--identity-scope=resource-group"},
		"delegated":       {"--delegated-managed-identity-resource-id", micID, "--principal-tenant-id", azemu.DefaultTenant},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			flags := append([]string{"--identity-resource-id", micID}, flags...)
			if err := attach(t, w.mic(t), "one"); err == nil || !strings.Contains(err.Error(), "Virtual Machine Contributor on resource group mc_group") {
				t.Errorf("before, mic: %v", err)
			}
			status, out, _ := w.run(flags...)
			if status != 1 || w.writes() != 0 {
				t.Errorf("status %d after %d writes, want 1 after none", status, w.writes())
			}
			golden(t, name+".txt", out)
			if name == "least-privilege" {
				_, out, _ = w.run(append(flags, "-o", "json")...)
				golden(t, name+".json", out)
			}
			status, out, errs := w.run(append(flags, "--apply")...)
			if status != 0 {
				t.Errorf("--apply: status %d: %s", status, errs)
			}
			golden(t, name+"-applied.txt", out)
			must(t, w.azure.SetFault(azemu.EndpointOperationEnd, azemu.Fault{Delay: azemu.Duration(10 * time.Millisecond), Times: 1})) // has it followed
			if err := attach(t, w.mic(t), "one", "two"); err != nil {
				t.Errorf("after --apply, mic: %v", err)
			}
			if n := w.azure.Counters()[azemu.EndpointOperationGet].Status[200]; n == 0 {
				t.Error("no operation was followed")
			}
			before := w.writes()
			status, out, errs = w.run(append(flags, "--apply")...)
			if status != 0 || w.writes() != before || !strings.Contains(out, "Nothing is missing.") {
				t.Errorf("--apply again: status %d after %d writes more: %s%s", status, w.writes()-before, out, errs)
			}
			delegated := ""
			if name == "delegated" {
				delegated = micID
			}
			for _, a := range w.azure.State().RoleAssignments {
				if a.PrincipalID == micObject && (a.DelegatedManagedIdentityResourceID != delegated || a.PrincipalType != "ServicePrincipal") {
					t.Errorf("made %+v", a)
				}
			}
		})
	}
}

func TestMicIsRefusedAsLongAsTheIdentityIsMissing(t *testing.T) {
	w := newWorld(t, azemu.RoleAssignment{Scope: nodeGroup, PrincipalID: micObject, Role: "Virtual Machine Contributor"})
	err := attach(t, w.mic(t), "one")
	if err == nil || !strings.Contains(err.Error(), "Managed Identity Operator on "+strings.ToLower(identities)+"one") {
		t.Fatalf("before: %v", err)
	}
	// What mic's condition tells to run and what podid roles tells differ in how
	// they name mic and the role alone.
	status, out, _ := w.run("--principal-id", micObject)
	want := "# Managed Identity Operator\naz role assignment create --name "
	scope := " --role f1a07417-d97a-45cb-824c-7a7467783830 --scope " + identities + "one --subscription "
	if status != 1 || !strings.Contains(out, want) || !strings.Contains(out, scope) || strings.Contains(out, "# Virtual Machine Contributor") {
		t.Errorf("status %d: %s", status, out)
	}
	if status, out, _ = w.run("--principal-id", micObject, "--apply"); status != 0 {
		t.Errorf("status %d: %s", status, out)
	}
	if err := attach(t, w.mic(t), "one"); err != nil {
		t.Errorf("after: %v", err)
	}
}

func TestWhatIsThereCountsByWhatItAllows(t *testing.T) {
	w := newWorld(t,
		azemu.RoleAssignment{Scope: nodeGroup, PrincipalID: micObject, Role: "Contributor"},
		azemu.RoleAssignment{Scope: appGroup, PrincipalID: micObject, Role: "Managed Identity Operator"},
		azemu.RoleAssignment{Scope: identities + "one", PrincipalID: micObject, Role: "Managed Identity Operator"},
	)
	status, out, errs := w.run("--principal-id", micObject)
	if status != 0 {
		t.Errorf("status %d: %s", status, errs)
	}
	golden(t, "inherited.txt", out)
	status, out, _ = w.run("--principal-id", micObject, "-o", "json")
	var r struct {
		Roles []struct {
			Role, Scope, State string
			From               []struct{ Role, Scope string }
		}
	}
	must(t, json.Unmarshal([]byte(out), &r))
	if status != 0 || len(r.Roles) != 3 || r.Roles[2].State != "inherited" || r.Roles[2].From[0].Scope != appGroup {
		t.Errorf("status %d: %s", status, out)
	}
	if status, out, _ := w.run("--principal-id", adminObject); status != 0 || !strings.Contains(out, "inherited from Owner on "+subscription) {
		t.Errorf("of an owner, status %d: %s", status, out)
	}
	if w.writes() > 0 {
		t.Errorf("%d writes", w.writes())
	}
}
