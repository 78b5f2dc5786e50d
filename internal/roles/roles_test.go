package roles_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/roles"
)

func TestAllows(t *testing.T) {
	const assigning = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"
	for name, test := range map[string]struct {
		actions, not []string
		action       string
		want         bool
	}{
		"the action itself, in any case":           {actions: []string{"microsoft.compute/VIRTUALMACHINES/read"}, action: "Microsoft.Compute/virtualMachines/read", want: true},
		"another action":                           {actions: []string{"Microsoft.Compute/virtualMachines/read"}, action: "Microsoft.Compute/virtualMachines/write"},
		"an action that begins the same":           {actions: []string{"Microsoft.Compute/virtualMachines/read"}, action: "Microsoft.Compute/virtualMachines/readAll"},
		"a star for everything":                    {actions: []string{"*"}, action: assigning, want: true},
		"a star for every read":                    {actions: []string{"*/read"}, action: "Microsoft.Compute/locations/operations/read", want: true},
		"every read is no action":                  {actions: []string{"*/read"}, action: assigning},
		"a star at the end":                        {actions: []string{"Microsoft.Compute/virtualMachines/*"}, action: "Microsoft.Compute/virtualMachines/write", want: true},
		"a star at the end of another type":        {actions: []string{"Microsoft.Compute/virtualMachines/*"}, action: "Microsoft.Compute/virtualMachineScaleSets/write"},
		"a star between slashes for nothing":       {actions: []string{"Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action"}, action: assigning, want: true},
		"a star between slashes for a part":        {actions: []string{"Microsoft.ManagedIdentity/*/assign/action"}, action: assigning, want: true},
		"parts in another order":                   {actions: []string{"*/write/*/read"}, action: "a/read/b/write"},
		"no overlap of what stands around a star":  {actions: []string{"ab*ba"}, action: "aba"},
		"what is taken away again":                 {actions: []string{"*"}, not: []string{"Microsoft.ManagedIdentity/*"}, action: assigning},
		"what is taken away is something else":     {actions: []string{"*"}, not: []string{"Microsoft.Authorization/*/Write"}, action: assigning, want: true},
		"nothing":                                  {action: assigning},
		"nothing, with something that is taken":    {not: []string{"*"}, action: assigning},
		"the beginning has to be at the beginning": {actions: []string{"Compute/*"}, action: "Microsoft.Compute/virtualMachines/read"},
	} {
		t.Run(name, func(t *testing.T) {
			p := roles.Permission{Actions: test.actions, NotActions: test.not}
			if got := p.Allows(test.action); got != test.want {
				t.Errorf("Allows(%s) = %v", test.action, got)
			}
		})
	}
}

func TestCovers(t *testing.T) {
	const group = "/subscriptions/s/resourceGroups/g"
	for name, test := range map[string]struct {
		assigned, scope string
		want            bool
	}{
		"itself, in another case":      {strings.ToUpper(group), group, true},
		"above":                        {"/subscriptions/s", group, true},
		"everything":                   {"/", group, true},
		"a management group":           {"/providers/Microsoft.Management/managementGroups/m", group, true},
		"below":                        {group, "/subscriptions/s", false},
		"beside":                       {group, "/subscriptions/s/resourceGroups/h", false},
		"a name that begins with it":   {group, group + "2", false},
		"another kind of providers":    {"/providers/Microsoft.Other/things/m", group, false},
		"a slash at the end":           {group + "/", group, true},
		"another subscription's group": {"/subscriptions/t", group, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := roles.Covers(test.assigned, test.scope); got != test.want {
				t.Errorf("Covers(%s, %s) = %v", test.assigned, test.scope, got)
			}
		})
	}
}

const (
	nodeGroup = "/subscriptions/s/resourceGroups/mc_g"
	apps      = "/subscriptions/s/resourceGroups/Apps"
	one       = apps + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/one"
)

func TestNeeds(t *testing.T) {
	scope := func(kind assign.Kind, group, name string) assign.Scope {
		return assign.Scope{Kind: kind, Subscription: "s", ResourceGroup: group, Name: name}
	}
	cluster := roles.Cluster{
		Nodes: map[assign.Scope]int{
			scope(assign.VMSS, "mc_g", "a"): 3, scope(assign.VMSS, "mc_g", "b"): 1, scope(assign.VM, "mc_g", "c"): 1,
			scope(assign.VM, "other", "d"): 1, scope(assign.VMSS, "third", "e"): 2,
		},
		Identities: []roles.Identity{
			{Name: "team/one", ResourceID: one},
			{Name: "another/one", ResourceID: strings.ToUpper(one)},
			{Name: "team/two", ResourceID: strings.Replace(one, "/one", "/two", 1)},
		},
	}
	needs, refused := roles.Needs(cluster, false)
	if len(refused) > 0 {
		t.Error(refused)
	}
	machines := []roles.Need{
		{Job: roles.Machines, Scope: nodeGroup, Why: "5 nodes, in 2 scale sets and 1 VM"},
		{Job: roles.Machines, Scope: "/subscriptions/s/resourceGroups/other", Why: "1 node"},
		{Job: roles.Machines, Scope: "/subscriptions/s/resourceGroups/third", Why: "2 nodes, in 1 scale set"},
	}
	want := slices.Concat(machines, []roles.Need{
		{Job: roles.Identities, Scope: one, Why: "AzureIdentity another/one and 1 more"},
		{Job: roles.Identities, Scope: apps + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/two", Why: "AzureIdentity team/two"},
	})
	if diff := cmp.Diff(want, needs); diff != "" {
		t.Errorf("Needs() (-want +got):\n%s", diff)
	}
	needs, _ = roles.Needs(cluster, true)
	want = slices.Concat(machines, []roles.Need{{Job: roles.Identities, Scope: apps, Why: "AzureIdentity another/one and 2 more"}})
	if diff := cmp.Diff(want, needs); diff != "" {
		t.Errorf("Needs() by group (-want +got):\n%s", diff)
	}
}

// TestIdentitiesThatAreNoneAreRefused: who may write an AzureIdentity does not
// make an administrator's request, or a line for his shell, another one.
func TestIdentitiesThatAreNoneAreRefused(t *testing.T) {
	for _, id := range []string{
		"", "one", one[1:], one + "/", one + "/federatedIdentityCredentials/x", apps, one + "?api-version=2018-11-30", one + "#", one + "%2f..",
		"/subscriptions/s/resourceGroups/../providers/Microsoft.ManagedIdentity/userAssignedIdentities/one",
		"/subscriptions/s/resourceGroups/./providers/Microsoft.ManagedIdentity/userAssignedIdentities/one",
		"/subscriptions//resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/one",
		one + "' && curl evil", one + "$(id)", one + "`id`", one + "\n", one + " ", one + "\x1b[2J", one + `\`,
		strings.Replace(one, "ManagedIdentity", "Compute", 1),
	} {
		needs, refused := roles.Needs(roles.Cluster{Identities: []roles.Identity{{Name: "team/evil", ResourceID: id}}}, false)
		if len(needs) > 0 || len(refused) != 1 || !strings.HasPrefix(refused[0].Error(), "AzureIdentity team/evil: ") {
			t.Errorf("%q: %v, %v", id, needs, refused)
		}
	}
	nodes := map[assign.Scope]int{{Kind: assign.VM, Subscription: "s", ResourceGroup: "g?x", Name: "n"}: 1, {Kind: assign.VM, Subscription: "..", ResourceGroup: "g", Name: "n"}: 2}
	if needs, refused := roles.Needs(roles.Cluster{Nodes: nodes}, false); len(needs) > 0 || len(refused) != 2 || !strings.HasPrefix(refused[0].Error(), "2 nodes of ") {
		t.Errorf("nodes: %v, %v", needs, refused)
	}
	for _, id := range []string{one, strings.ToUpper(one), strings.Replace(one, "Apps", "-(Gruppe).ä_1", 1)} {
		if err := roles.CheckIdentity(id); err != nil {
			t.Error(err)
		}
	}
}

func TestJudge(t *testing.T) {
	contributor := []roles.Permission{{Actions: []string{"*"}, NotActions: []string{"Microsoft.Authorization/*/Write"}}}
	custom := []roles.Permission{{Actions: roles.Machines.Actions()}}
	vms := []roles.Permission{{Actions: []string{"Microsoft.Compute/virtualMachines/*", "Microsoft.Compute/locations/*"}}}
	sets := []roles.Permission{{Actions: []string{"Microsoft.Compute/virtualMachineScaleSets/*"}}}
	grant := func(scope, role string, p []roles.Permission) roles.Grant {
		return roles.Grant{Scope: scope, Role: role, Permissions: p}
	}
	for name, test := range map[string]struct {
		grants  []roles.Grant
		lacking []string
		by      []string
	}{
		"nothing": {lacking: roles.Machines.Actions()},
		"a role with another name, on the scope": {
			grants: []roles.Grant{grant(strings.ToUpper(nodeGroup), "custom", custom)}, by: []string{"custom"},
		},
		"a role above": {grants: []roles.Grant{grant("/subscriptions/s", "Contributor", contributor)}, by: []string{"Contributor"}},
		"the nearest of several": {
			grants: []roles.Grant{
				grant("/providers/Microsoft.Management/managementGroups/a-long-name-that-is-far-away", "Owner", contributor),
				grant("/subscriptions/s", "Contributor", contributor), grant(nodeGroup, "custom", custom),
			},
			by: []string{"custom"},
		},
		"two that make it together": {
			grants: []roles.Grant{grant("/subscriptions/s", "sets", sets), grant(nodeGroup, "vms", vms)}, by: []string{"vms", "sets"},
		},
		"half of it": {
			grants: []roles.Grant{grant(nodeGroup, "vms", vms)}, by: []string{"vms"},
			lacking: []string{"Microsoft.Compute/virtualMachineScaleSets/read", "Microsoft.Compute/virtualMachineScaleSets/write"},
		},
		"on another group":       {grants: []roles.Grant{grant(nodeGroup+"2", "Contributor", contributor)}, lacking: roles.Machines.Actions()},
		"on one of its machines": {grants: []roles.Grant{grant(nodeGroup+"/providers/Microsoft.Compute/virtualMachines/a", "Owner", contributor)}, lacking: roles.Machines.Actions()},
	} {
		t.Run(name, func(t *testing.T) {
			v := roles.Judge(roles.Need{Job: roles.Machines, Scope: nodeGroup}, test.grants)
			var by []string
			for _, g := range v.By {
				by = append(by, g.Role)
			}
			if diff := cmp.Diff([][]string{test.lacking, test.by}, [][]string{v.Lacking, by}); diff != "" {
				t.Errorf("Judge() (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEveryJobHasARole(t *testing.T) {
	for _, job := range []roles.Job{roles.Machines, roles.Identities} {
		if name, id := job.BuiltIn(); name == "" || id == "" || len(job.Actions()) == 0 || !strings.Contains(job.Custom("s"), string(job)) {
			t.Errorf("job %s lacks something", job)
		}
	}
	if name, _ := roles.Job("another").BuiltIn(); name != "" || roles.Job("another").Actions() != nil {
		t.Error("a job that is none has a role")
	}
}
