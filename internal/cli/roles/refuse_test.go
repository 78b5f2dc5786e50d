package roles_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	pure "github.com/podid-io/podid/internal/roles"
)

const (
	devGroup = subscription + "/resourceGroups/dev"
	devVM    = devGroup + "/providers/Microsoft.Compute/virtualMachines/evil"
)

// says runs the command, and asks for its status and for what it says.
func (w *world) says(t *testing.T, status int, args []string, want ...string) {
	t.Helper()
	got, out, errs := w.run(args...)
	if got != status {
		t.Errorf("podid roles %q: status %d, want %d", args, got, status)
	}
	for _, s := range want {
		if !strings.Contains(out+errs, s) {
			t.Errorf("podid roles %q: %q is not in\n%s%s", args, s, out, errs)
		}
	}
}

// given are the scopes on which mic has roles.
func (w *world) given() (scopes []string) {
	for _, a := range w.azure.State().RoleAssignments {
		if strings.EqualFold(a.PrincipalID, micObject) {
			scopes = append(scopes, a.Scope)
		}
	}
	return scopes
}

// config is an azure.json of a managed identity, and the flags for it.
func config(t *testing.T, clientID string) []string {
	t.Helper()
	return []string{"--cloud", "", "--cloud-config", write(t, "azure.json",
		`{"cloud": "AzureStackCloud", "useManagedIdentityExtension": true, "userAssignedIdentityID": "`+clientID+`"}`)}
}

// Azure has no second assignment of the same, and one with a condition lets mic do
// nothing for certain.
func TestARoleWithAConditionIsNeitherPresentNorMade(t *testing.T) {
	w := newWorld(t, azemu.RoleAssignment{Scope: nodeGroup, PrincipalID: micObject, Role: "Virtual Machine Contributor", Condition: "false"})
	who := []string{"--principal-id", micObject}
	w.says(t, 1, who, "missing: Virtual Machine Contributor is there with the condition false\n")
	w.says(t, 1, append(who, "--apply"), "failed: it is there with a condition", "2 of 3 made, 1 failed.")
	if err := attach(t, w.mic(t), "one"); err == nil {
		t.Error("mic may change the machines nevertheless")
	}
}

// TestWhoMicIsIsNotForANodeToSay: whoever may make a Node, or has put an identity on
// a machine, is not to be given mic's roles.
func TestWhoMicIsIsNotForANodeToSay(t *testing.T) {
	system := &azemu.Assigned{Type: "SystemAssigned"}
	for sentence, test := range map[string]struct {
		set, vm, evil *azemu.Assigned
		client        string
		want          []string
	}{
		"a machine of somebody else's, beside those of the cluster": {
			set: system, vm: system, evil: system,
			want: []string{"mic may be ", "Nothing is made: ", "--principal-id or --identity-resource-id", "12 of 12 missing."},
		},
		"a machine of somebody else's, where the others cannot be read": {
			evil: system, want: []string{"mic may be ", "Nothing is made: ", "left out: scale set mc_group/pool: read its identities: 404"},
		},
		"an identity of pods, which is the only one": {
			set: &azemu.Assigned{UserAssigned: []string{identities + "one"}}, vm: &azemu.Assigned{UserAssigned: []string{identities + "one"}}, evil: &azemu.Assigned{UserAssigned: []string{identities + "one"}},
			want: []string{" is the identity of AzureIdentity default/one", "Give mic an identity of its own"},
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			w := newAzure(t)
			state := azemu.State{VMs: []azemu.VM{{ID: devVM, Identity: test.evil}}}
			if test.set != nil {
				state.ScaleSets = []azemu.ScaleSet{{ID: setID, Identity: test.set}}
				state.VMs = append(state.VMs, azemu.VM{ID: vmID, Identity: test.vm})
			} else {
				w.without(t, setID, vmID)
			}
			must(t, w.azure.MergeState(state))
			populate(t, node("forged", "azure://"+devVM))
			w.says(t, 2, append(config(t, test.client), "--apply"), test.want...)
			_, out, _ := w.run(config(t, test.client)...)
			if w.writes() > 0 || strings.Contains(out, "az role assignment create") || strings.Contains(out, "az rest") {
				t.Errorf("%d writes, and told to run: %s", w.writes(), out)
			}
		})
	}
	w := newWorld(t)
	for _, who := range [][]string{{"--identity-resource-id", strings.ToUpper(identities) + "one"}, {"--principal-id", micObject, "--delegated-managed-identity-resource-id", identities + "one"}} {
		w.says(t, 2, append(who, "--apply"), "is the identity of AzureIdentity default/one")
	}
	if w.writes() > 0 {
		t.Errorf("%d writes", w.writes())
	}
}

// without takes machines out of Azure.
func (w *world) without(t *testing.T, ids ...string) {
	t.Helper()
	s := w.azure.State()
	s.Apps[0].Secrets, s.Apps[1].Secrets = []string{"secret"}, []string{"mic's secret"} // which State leaves out
	for _, id := range ids {
		if strings.EqualFold(id, setID) {
			s.ScaleSets = nil
		} else {
			s.VMs = nil
		}
	}
	must(t, w.azure.SetState(s))
}

func TestANodeThatIsGoneStopsNobody(t *testing.T) {
	w := newAzure(t)
	must(t, w.azure.MergeState(azemu.State{ScaleSets: []azemu.ScaleSet{{ID: setID, Identity: &azemu.Assigned{UserAssigned: []string{micID}}}}}))
	populate(t, node("gone", "azure://"+devGroup+"/providers/Microsoft.Compute/virtualMachines/agone"))
	w.says(t, 2, config(t, micClient), "mic is "+micObject, "left out: virtual machine dev/agone: read its identities: 404")
}

func TestNodesElsewhereGiveNoPowerThere(t *testing.T) {
	w := newAzure(t)
	must(t, w.azure.MergeState(azemu.State{VMs: []azemu.VM{{ID: devVM}}}))
	populate(t, node("far", "azure://"+devVM), node("far-2", "azure://"+devVM), node("far-3", "azure://"+devVM), node("far-4", "azure://"+devVM), node("nowhere", "azure://"+subscription+"/resourceGroups/victim/providers/Microsoft.Compute/virtualMachines/none"))
	who := []string{"--principal-id", micObject}
	w.says(t, 1, who, "unusual: nodes are in several resource groups; --node-resource-group dev if mic is to change machines there", "3 unusual, and not made: see STATE.")
	w.says(t, 1, append(who, "--apply"), "2 of 2 made, 0 failed.", "unusual: ")
	if got := strings.Join(w.given(), " "); strings.Contains(strings.ToLower(got), "/dev") || strings.Contains(got, "victim") || strings.Contains(strings.ToLower(got), "/mc_group") {
		t.Errorf("made on %s", got)
	}
	w.says(t, 1, append(who, "--apply", "--node-resource-group", "mc_group"), "1 of 1 made", "2 unusual, and not made")
	w.says(t, 1, append(who, "--apply", "--node-resource-group", "DEV", "--node-resource-group", "victim"), "1 of 1 made", "unusual: nothing of that exists in Azure")
	if got := strings.Join(w.given(), " "); !strings.Contains(got, devGroup) || strings.Contains(got, "victim") {
		t.Errorf("made on %s", got)
	}
	w.says(t, 2, append(who, "--node-resource-group", "none"), `--node-resource-group: no node is in the resource group "none"`)
}

func TestAnIdentityThatIsNotThereGivesNoPowerOverItsGroup(t *testing.T) {
	w := newAzure(t)
	victim := strings.Replace(identities, "/Apps/", "/victim/", 1)
	populate(t, identity("none", v1.AzureIdentitySpec{Type: new(v1.UserAssignedMSI), ClientID: "c", ResourceID: victim + "none"}))
	w.says(t, 1, []string{"--principal-id", micObject, "--identity-scope=resource-group", "--apply"}, "2 of 2 made", "unusual: nothing of that exists in Azure")
	if got := strings.Join(w.given(), " "); strings.Contains(got, "victim") {
		t.Errorf("made on %s", got)
	}
}

func TestWhatCannotBeReadIsUnknownAndStopsNobody(t *testing.T) {
	w := newAzure(t)
	elsewhere := strings.Replace(identities, "11111111-1111", "99999999-1111", 1) + "i"
	populate(t, identity("elsewhere", v1.AzureIdentitySpec{Type: new(v1.UserAssignedMSI), ClientID: "c", ResourceID: elsewhere}))
	who := []string{"--principal-id", micObject}
	w.says(t, 2, who, "unknown: list the role assignments of "+elsewhere, "3 of 4 missing.", "1 unknown: see STATE.")
	w.says(t, 2, append(who, "--apply"), "3 of 3 made, 0 failed.", "unknown: ")
	if got := len(w.given()); got != 3 {
		t.Errorf("%d made, want 3", got)
	}
}

func TestWhatIsLeftOutIsInTheStatus(t *testing.T) {
	for sentence, test := range map[string]struct {
		resourceID, providerID string
		status                 int
		want                   string
	}{
		"an identity in a subscription that is none": {strings.Replace(identities, subscription, "/subscriptions/x", 1) + "i", "", 2, `left out: AzureIdentity default/more: resourceID "/subscriptions/x/`},
		"an identity by its client id alone":         {"", "", 0, "Nothing is missing.\n"},
		"a node of Azure that is none":               {"", "azure:///subscriptions/x", 2, "left out: node more: providerID"},
		"a node of Azure with a name that is none":   {"", "azure://" + nodeGroup + "/providers/Microsoft.Compute/virtualMachines/a?b", 2, "left out: 1 node of "},
		"a node of another cloud":                    {"", "aws:///x", 0, "left out: node more: providerID"},
	} {
		t.Run(sentence, func(t *testing.T) {
			w := newAzure(t)
			populate(t, identity("more", v1.AzureIdentitySpec{Type: new(v1.UserAssignedMSI), ClientID: "c", ResourceID: test.resourceID}), node("more", test.providerID))
			w.says(t, test.status, []string{"--principal-id", adminObject}, test.want, "Nothing is missing")
		})
	}
}

func TestAClientIDForAnObjectIDIsTold(t *testing.T) {
	w := newWorld(t)
	const nobody = "99999999-9999-9999-9999-999999999999"
	w.says(t, 2, []string{"--principal-id", nobody, "--apply"}, nobody+": no such object id is known to Entra ID: is it the client id")
	if w.writes() > 0 {
		t.Errorf("%d writes", w.writes())
	}
	must(t, w.azure.SetFault(azemu.EndpointRoleAssignmentList, azemu.Fault{Status: 400, Code: "PrincipalNotFound", Times: 1}))
	w.says(t, 0, []string{"--identity-resource-id", micID, "--apply"}, "3 of 3 made", micObject+": no such object id is known to Entra ID")
}

// A custom role of the name may be anybody's, and allow anything.
func TestACustomRoleAllowsNoMoreThanItShould(t *testing.T) {
	name := pure.Machines.Custom(strings.TrimPrefix(subscription, "/subscriptions/"))
	for sentence, permission := range map[string]pure.Permission{
		"everything":             {Actions: []string{"*"}},
		"one more":               {Actions: append(pure.Machines.Actions(), "Microsoft.Compute/disks/write")},
		"less what it takes off": {Actions: pure.Machines.Actions(), NotActions: []string{"Microsoft.Compute/disks/write"}},
	} {
		t.Run(sentence, func(t *testing.T) {
			w := newWorld(t)
			another := subscription + "/resourceGroups/another"
			must(t, w.azure.MergeState(azemu.State{RoleDefinitions: []azemu.RoleDefinition{{RoleName: name, AssignableScopes: []string{another, subscription}, Permissions: []pure.Permission{permission}}}}))
			w.says(t, 0, []string{"--principal-id", micObject, "--apply", "--least-privilege"}, "3 of 3 made")
			for _, d := range w.azure.State().RoleDefinitions {
				if d.RoleName == name && (len(d.Permissions) != 1 || len(d.Permissions[0].Actions) != len(pure.Machines.Actions()) || len(d.Permissions[0].NotActions) > 0 || len(d.AssignableScopes) != 2) {
					t.Errorf("left as %+v", d)
				}
			}
		})
	}
}

func TestWhatIsNoLongerNeededIsListed(t *testing.T) {
	w := newAzure(t)
	must(t, w.azure.MergeState(azemu.State{RoleAssignments: []azemu.RoleAssignment{ // another's, which is let be
		{Scope: identities + "three", PrincipalID: micObject, Role: "Reader"}}}))
	t.Run("before", func(t *testing.T) {
		populate(t, identity("three", v1.AzureIdentitySpec{Type: new(v1.UserAssignedMSI), ClientID: "c", ResourceID: micID + "-other"}))
		must(t, w.azure.MergeState(azemu.State{Identities: []azemu.Identity{{ID: micID + "-other"}}}))
		w.says(t, 0, []string{"--principal-id", micObject, "--apply"}, "4 of 4 made")
	})
	populate(t)
	before := w.writes()
	status, out, _ := w.run("--principal-id", micObject, "--apply")
	if n := strings.Count(out, "\naz role assignment delete --ids "); status != 0 || n != 1 || w.writes() != before ||
		!strings.Contains(out, "No longer needed by this cluster") || !strings.Contains(out, "# Managed Identity Operator on "+micID+"-other\naz role assignment delete --ids "+micID+"-other/providers/Microsoft.Authorization/roleAssignments/") {
		t.Errorf("status %d, %d to delete: %s", status, n, out)
	}
}

func TestTheDelegatedIdentityIsThatOfMic(t *testing.T) {
	both := &azemu.Assigned{Type: "SystemAssigned"}
	w := newWorld(t)
	must(t, w.azure.MergeState(azemu.State{ScaleSets: []azemu.ScaleSet{{ID: setID, Identity: both}}, VMs: []azemu.VM{{ID: vmID, Identity: both}}}))
	w.says(t, 2, append(config(t, ""), "--apply", "--delegated-managed-identity-resource-id", vmID), "mic's identity is that of")
	w.says(t, 2, []string{"--identity-resource-id", micID, "--apply", "--delegated-managed-identity-resource-id", vmID}, "mic's identity is that of "+micID)
	if w.writes() > 0 {
		t.Errorf("%d writes", w.writes())
	}
}

func TestAnotherTenantIsLookedUpWhereItIsNamed(t *testing.T) {
	w := newWorld(t)
	flags := []string{"--principal-id", micObject, "--delegated-managed-identity-resource-id", micID}
	w.says(t, 2, flags, "unknown: --principal-tenant-id has it looked up", "3 unknown: see STATE.", "\naz rest --method put --url ")
	w.says(t, 0, append(flags, "--apply"), "3 of 3 made, 0 failed.")
	const tenant = "88888888-8888-8888-8888-888888888888"
	base, asked := w.http.Transport, 0
	w.http.Transport = tripper(func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(strings.ToLower(r.URL.Path), "/roleassignments") && r.URL.Query().Get("tenantId") == tenant {
			asked++
		}
		return base.RoundTrip(r)
	})
	w.says(t, 0, append(flags, "--principal-tenant-id", tenant), "Nothing is missing.")
	if asked == 0 {
		t.Error("the tenant was not asked for")
	}
}

// tripper is a transport.
type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestTheReportSaysOfWhatItIs(t *testing.T) {
	w := newWorld(t)
	_, out, _ := w.run("--principal-id", micObject, "-o", "json")
	var r struct {
		Cluster, Cloud string
		SignedIn       struct{ Name, ObjectID, TenantID string }
	}
	must(t, json.Unmarshal([]byte(out), &r))
	if r.Cluster != plane.REST().Host || r.Cloud != "AzureStackCloud" || r.SignedIn.Name != "admin" || r.SignedIn.ObjectID != adminObject || r.SignedIn.TenantID != azemu.DefaultTenant {
		t.Errorf("of %+v", r)
	}
	w.says(t, 2, []string{"--principal-id", micObject, "--tenant-id", "88888888-8888-8888-8888-888888888888"}, "--tenant-id=88888888-8888-8888-8888-888888888888: signed in to tenant "+azemu.DefaultTenant)
}

// What azure.json or a cluster says is for a terminal, and for a shell.
func TestNothingSteersTheTerminal(t *testing.T) {
	w := newWorld(t)
	status, out, errs := w.run(config(t, `a\u001b]0;owned\u0007\nmic is fine\u202e`)...)
	if status != 2 || out != "" || strings.ContainsAny(errs, "\x1b\x07\u202e") || strings.Count(errs, "\n") != 1 {
		t.Errorf("status %d: %q%q", status, out, errs)
	}
	file := write(t, "azure.json", `{"cloud": "AzureStackCloud", "tenantId": "t", "aadClientId": "x --query y) $(id", "aadClientSecret": "hidden"}`)
	status, out, errs = w.run("--cloud", "", "--cloud-config", file)
	if status != 2 || out != "" || strings.Contains(errs, "$(") || !strings.Contains(errs, "aadClientId is no GUID") {
		t.Errorf("status %d: %q%q", status, out, errs)
	}
}
