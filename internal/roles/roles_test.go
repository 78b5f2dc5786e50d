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

// What Azure's documentation says of wildcards and of its own roles: see
// https://learn.microsoft.com/azure/role-based-access-control/role-definitions
func TestAllowsAsAzureDocumentsIt(t *testing.T) {
	contributor := roles.Permission{Actions: []string{"*"}, NotActions: []string{
		"Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write", "Microsoft.Authorization/elevateAccess/Action",
	}}
	operator := roles.Permission{Actions: []string{
		"Microsoft.ManagedIdentity/userAssignedIdentities/*/read", "Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action",
	}}
	for _, test := range []struct {
		role   string
		p      roles.Permission
		action string
		want   bool
	}{
		{"Owner", roles.Permission{Actions: []string{"*"}}, "Microsoft.Authorization/roleAssignments/write", true},
		{"Contributor", contributor, "Microsoft.Authorization/roleAssignments/write", false},
		{"Contributor", contributor, "Microsoft.Authorization/roleAssignments/delete", false},
		{"Contributor", contributor, "Microsoft.Authorization/roleAssignments/read", true},
		{"Contributor", contributor, "Microsoft.Authorization/elevateAccess/action", false},
		{"Contributor", contributor, "Microsoft.Compute/virtualMachineScaleSets/write", true},
		{"Contributor", contributor, "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action", true},
		{"Reader", roles.Permission{Actions: []string{"*/read"}}, "Microsoft.Compute/virtualMachines/read", true},
		{"Reader", roles.Permission{Actions: []string{"*/read"}}, "Microsoft.Compute/virtualMachines/write", false},
		{"Managed Identity Operator", operator, "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action", true},
		{"Managed Identity Operator", operator, "Microsoft.ManagedIdentity/userAssignedIdentities/read", true},
		{"Managed Identity Operator", operator, "Microsoft.ManagedIdentity/userAssignedIdentities/write", false},
		{"Managed Identity Operator", operator, "Microsoft.Compute/virtualMachines/write", false},
		{"all of exports", roles.Permission{Actions: []string{"Microsoft.CostManagement/exports/*"}}, "Microsoft.CostManagement/exports/run/action", true},
		{"all queries", roles.Permission{Actions: []string{"Microsoft.CostManagement/*/query/*"}}, "Microsoft.CostManagement/dimensions/query/read", true},
	} {
		if got := test.p.Allows(test.action); got != test.want {
			t.Errorf("%s: Allows(%s) = %v", test.role, test.action, got)
		}
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
	sub       = "11111111-1111-1111-1111-111111111111"
	nodeGroup = "/subscriptions/" + sub + "/resourceGroups/mc_g"
	apps      = "/subscriptions/" + sub + "/resourceGroups/Apps"
	one       = apps + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/one"
)

func TestNeeds(t *testing.T) {
	scope := func(kind assign.Kind, group, name string) assign.Scope {
		return assign.Scope{Kind: kind, Subscription: sub, ResourceGroup: group, Name: name}
	}
	cluster := roles.Cluster{
		Nodes: map[assign.Scope]int{
			scope(assign.VMSS, "mc_g", "a"): 3, scope(assign.VMSS, "mc_g", "b"): 1, scope(assign.VM, "mc_g", "c"): 1,
			scope(assign.VM, "other", "d"): 1, scope(assign.VMSS, "third", "e"): 2,
		},
		Identities: []roles.Identity{
			{Name: "team/one", ResourceID: one},
			{Name: "another/one", ResourceID: strings.ToUpper(one)},
			{Name: "team/on-the-nodes-already", ClientID: "c"},
			{Name: "team/two", ResourceID: strings.Replace(one, "/one", "/two", 1)},
		},
	}
	needs, refused := roles.Needs(cluster, false)
	if len(refused) > 0 {
		t.Error(refused)
	}
	set := func(group, name string) string {
		return "/subscriptions/" + sub + "/resourcegroups/" + group + "/providers/microsoft.compute/virtualmachinescalesets/" + name
	}
	vm := func(group, name string) string {
		return "/subscriptions/" + sub + "/resourcegroups/" + group + "/providers/microsoft.compute/virtualmachines/" + name
	}
	machines := []roles.Need{
		{Job: roles.Machines, Scope: nodeGroup, Why: "5 nodes, in 2 scale sets and 1 VM", Of: []string{vm("mc_g", "c"), set("mc_g", "a"), set("mc_g", "b")}, Unusual: true},
		{Job: roles.Machines, Scope: "/subscriptions/" + sub + "/resourceGroups/other", Why: "1 node", Of: []string{vm("other", "d")}, Unusual: true},
		{Job: roles.Machines, Scope: "/subscriptions/" + sub + "/resourceGroups/third", Why: "2 nodes, in 1 scale set", Of: []string{set("third", "e")}, Unusual: true},
	}
	two := strings.Replace(one, "/one", "/two", 1)
	want := slices.Concat(machines, []roles.Need{
		{Job: roles.Identities, Scope: one, Why: "AzureIdentity another/one and 1 more", Of: []string{one}},
		{Job: roles.Identities, Scope: two, Why: "AzureIdentity team/two", Of: []string{two}},
	})
	if diff := cmp.Diff(want, needs); diff != "" {
		t.Errorf("Needs() (-want +got):\n%s", diff)
	}
	needs, _ = roles.Needs(cluster, true)
	want = slices.Concat(machines, []roles.Need{{Job: roles.Identities, Scope: apps, Why: "AzureIdentity another/one and 2 more", Of: []string{one, two}}})
	if diff := cmp.Diff(want, needs); diff != "" {
		t.Errorf("Needs() by group (-want +got):\n%s", diff)
	}
}

func TestOfSeveralGroupsOfNodesAllAreUnusualUnlessTheyAreNamed(t *testing.T) {
	const another = "22222222-2222-2222-2222-222222222222"
	scope := func(subscription, group string) assign.Scope {
		return assign.Scope{Kind: assign.VM, Subscription: subscription, ResourceGroup: group, Name: "n"}
	}
	for sentence, test := range map[string]struct {
		nodes map[assign.Scope]int
		named []string
		want  []string // of the unusual
		err   string
	}{
		"one group":                        {nodes: map[assign.Scope]int{scope(sub, "a"): 1}},
		"one with more nodes":              {nodes: map[assign.Scope]int{scope(sub, "a"): 2, scope(sub, "b"): 1}, want: []string{"a", "b"}},
		"one with many more nodes":         {nodes: map[assign.Scope]int{scope(sub, "a"): 3, scope(sub, "b"): 5000}, want: []string{"a", "b"}},
		"two with as many":                 {nodes: map[assign.Scope]int{scope(sub, "a"): 2, scope(sub, "b"): 2, scope(sub, "c"): 1}, want: []string{"a", "b", "c"}},
		"named, in any case":               {nodes: map[assign.Scope]int{scope(sub, "a"): 2, scope(sub, "b"): 1, scope(sub, "c"): 1}, named: []string{"B"}, want: []string{"a", "c"}},
		"named twice":                      {nodes: map[assign.Scope]int{scope(sub, "a"): 2, scope(sub, "b"): 1}, named: []string{"b", "b"}, want: []string{"a"}},
		"named, where nobody is":           {nodes: map[assign.Scope]int{scope(sub, "a"): 2}, named: []string{"b"}, err: `no node is in the resource group "b"`},
		"two of the name":                  {nodes: map[assign.Scope]int{scope(sub, "a"): 2, scope(another, "a"): 1}, named: []string{"a"}, err: "write the ARM id, such as /subscriptions/" + sub + "/resourceGroups/a"},
		"two of the name, one named whole": {nodes: map[assign.Scope]int{scope(sub, "a"): 2, scope(another, "a"): 1}, named: []string{"/SUBSCRIPTIONS/" + another + "/resourcegroups/A"}, want: []string{"a"}},
	} {
		t.Run(sentence, func(t *testing.T) {
			needs, refused := roles.Needs(roles.Cluster{Nodes: test.nodes}, false)
			err := roles.Expect(needs, test.named)
			if len(refused) > 0 || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Fatalf("refused %v, error %v, want %q", refused, err, test.err)
			}
			var got []string
			for _, n := range needs {
				if n.Unusual && err == nil {
					got = append(got, n.Scope[strings.LastIndex(n.Scope, "/")+1:])
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("unusual (-want +got):\n%s", diff)
			}
		})
	}
}

// TestIdentitiesThatAreNoneAreRefused: who may write an AzureIdentity does not
// make an administrator's request, or a line for his shell, another one.
func TestIdentitiesThatAreNoneAreRefused(t *testing.T) {
	for _, id := range []string{
		"", "one", one[1:], one + "/", one + "/federatedIdentityCredentials/x", apps, one + "?api-version=2018-11-30", one + "#", one + "%2f..",
		"/subscriptions/" + sub + "/resourceGroups/../providers/Microsoft.ManagedIdentity/userAssignedIdentities/one",
		"/subscriptions/" + sub + "/resourceGroups/./providers/Microsoft.ManagedIdentity/userAssignedIdentities/one",
		"/subscriptions//resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/one",
		one + "' && curl evil", one + "$(id)", one + "`id`", one + "\n", one + " ", one + "\x1b[2J", one + `\`,
		strings.Replace(one, "ManagedIdentity", "Compute", 1), strings.Replace(one, sub, "s", 1), strings.Replace(one, sub, sub+"x", 1),
		one + "ä", one + ".", one + ".x", strings.Replace(one, "Apps", "Apps.", 1), strings.Replace(one, "resourceGroups", "re\u017fourceGroups", 1), one + "\u212a",
	} {
		needs, refused := roles.Needs(roles.Cluster{Identities: []roles.Identity{{Name: "team/evil", ResourceID: id}}}, false)
		if len(needs) > 0 || len(refused) != 1 || !strings.HasPrefix(refused[0].Error(), "AzureIdentity team/evil: ") {
			t.Errorf("%q: %v, %v", id, needs, refused)
		}
	}
	nodes := map[assign.Scope]int{{Kind: assign.VM, Subscription: sub, ResourceGroup: "g?x", Name: "n"}: 1, {Kind: assign.VM, Subscription: "..", ResourceGroup: "g", Name: "n"}: 2, {Kind: assign.VM, Subscription: sub, ResourceGroup: "g", Name: "n?x"}: 3}
	if needs, refused := roles.Needs(roles.Cluster{Nodes: nodes}, false); len(needs) > 0 || len(refused) != 3 || !strings.HasPrefix(refused[0].Error(), "2 nodes of ") {
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
		grants      []roles.Grant
		lacking     []string
		by          []string
		conditional []string
	}{
		"nothing": {lacking: roles.Machines.Actions()},
		"a role with another name, on the scope": {
			grants: []roles.Grant{grant(strings.ToUpper(nodeGroup), "custom", custom)}, by: []string{"custom"},
		},
		"a role above": {grants: []roles.Grant{grant("/subscriptions/"+sub, "Contributor", contributor)}, by: []string{"Contributor"}},
		"the nearest of several": {
			grants: []roles.Grant{
				grant("/providers/Microsoft.Management/managementGroups/a-long-name-that-is-far-away", "Owner", contributor),
				grant("/subscriptions/"+sub, "Contributor", contributor), grant(nodeGroup, "custom", custom),
			},
			by: []string{"custom"},
		},
		"two that make it together": {
			grants: []roles.Grant{grant("/subscriptions/"+sub, "sets", sets), grant(nodeGroup, "vms", vms)}, by: []string{"vms", "sets"},
		},
		"half of it": {
			grants: []roles.Grant{grant(nodeGroup, "vms", vms)}, by: []string{"vms"},
			lacking: []string{"Microsoft.Compute/virtualMachineScaleSets/read", "Microsoft.Compute/virtualMachineScaleSets/write"},
		},
		"a role with a condition": {
			grants: []roles.Grant{{Scope: nodeGroup, Role: "custom", Permissions: custom, Condition: "x"}}, lacking: roles.Machines.Actions(), conditional: []string{"custom"},
		},
		"a role with a condition, and one above without": {
			grants: []roles.Grant{{Scope: nodeGroup, Role: "custom", Permissions: custom, Condition: "x"}, grant("/subscriptions/"+sub, "Contributor", contributor)}, by: []string{"Contributor"},
		},
		"a role with a condition that is of no use": {
			grants: []roles.Grant{{Scope: nodeGroup, Role: "other", Condition: "x"}}, lacking: roles.Machines.Actions(),
		},
		"on another group":       {grants: []roles.Grant{grant(nodeGroup+"2", "Contributor", contributor)}, lacking: roles.Machines.Actions()},
		"on one of its machines": {grants: []roles.Grant{grant(nodeGroup+"/providers/Microsoft.Compute/virtualMachines/a", "Owner", contributor)}, lacking: roles.Machines.Actions()},
	} {
		t.Run(name, func(t *testing.T) {
			v := roles.Judge(roles.Need{Job: roles.Machines, Scope: nodeGroup}, test.grants)
			names := func(grants []roles.Grant) (out []string) {
				for _, g := range grants {
					out = append(out, g.Role)
				}
				return out
			}
			if diff := cmp.Diff([][]string{test.lacking, test.by, test.conditional}, [][]string{v.Lacking, names(v.By), names(v.Conditional)}); diff != "" {
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
