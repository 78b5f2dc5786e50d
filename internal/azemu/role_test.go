package azemu_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/roles"
)

const (
	operator    = "/subscriptions/" + subscription + "/providers/Microsoft.Authorization/roleDefinitions/f1a07417-d97a-45cb-824c-7a7467783830"
	someGUID    = "00000000-0000-0000-0000-00000000000"
	ownerObject = "aaaaaaaa-0000-0000-0000-000000000009"
)

// roleClients are the SDK's, for the app of the seed.
func (w world) roleClients(t *testing.T) (*armauthorization.RoleAssignmentsClient, *armauthorization.RoleDefinitionsClient) {
	t.Helper()
	f, err := armauthorization.NewClientFactory(subscription, w.credential(t, tenant, appID, appSecret), &arm.ClientOptions{
		ClientOptions: w.options(), DisableRPRegistration: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return f.NewRoleAssignmentsClient(), f.NewRoleDefinitionsClient()
}

func assignment(principal, definition string) armauthorization.RoleAssignmentCreateParameters {
	return armauthorization.RoleAssignmentCreateParameters{Properties: &armauthorization.RoleAssignmentProperties{
		PrincipalID: &principal, RoleDefinitionID: &definition,
	}}
}

// code is the error code of an answer; empty for none.
func code(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	answer, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok {
		t.Fatalf("not an answer: %v", err)
	}
	return answer.ErrorCode
}

func TestSDKMakesReadsAndDeletesRoleAssignments(t *testing.T) {
	t.Parallel()
	w := start(t, azemu.Config{})
	assignments, definitions := w.roleClients(t)
	scope := strings.TrimPrefix(identities+"one", "/")
	body := assignment("object-2", operator)
	body.Properties.PrincipalType = new(armauthorization.PrincipalTypeServicePrincipal)
	body.Properties.DelegatedManagedIdentityResourceID = new(identities + "two")

	made, err := assignments.Create(t.Context(), scope, someGUID+"1", body, nil)
	if err != nil {
		t.Fatal(err)
	}
	if *made.ID != "/"+scope+"/providers/Microsoft.Authorization/roleAssignments/"+someGUID+"1" || *made.Properties.Scope != "/"+scope ||
		*made.Properties.RoleDefinitionID != operator || *made.Properties.DelegatedManagedIdentityResourceID != identities+"two" {
		t.Errorf("made %v %+v", *made.ID, made.Properties)
	}
	if again, err := assignments.Create(t.Context(), scope, someGUID+"1", body, nil); err != nil || *again.ID != *made.ID {
		t.Errorf("the same again: %v", err)
	}
	if got, err := assignments.GetByID(t.Context(), strings.ToUpper(*made.ID)[1:], nil); err != nil || *got.Properties.PrincipalID != "object-2" {
		t.Errorf("GetByID: %v", err)
	}
	role, err := definitions.GetByID(t.Context(), operator[1:], nil)
	if err != nil || *role.Properties.RoleName != "Managed Identity Operator" || *role.Properties.RoleType != "BuiltInRole" {
		t.Errorf("the role: %v", err)
	}
	if _, err := assignments.Delete(t.Context(), scope, someGUID+"1", nil); err != nil {
		t.Error(err)
	}
	if _, err := assignments.Delete(t.Context(), scope, someGUID+"1", nil); err != nil {
		t.Errorf("of what is gone: %v", err)
	}
	if _, err := assignments.Get(t.Context(), scope, someGUID+"1", nil); code(t, err) != "RoleAssignmentNotFound" {
		t.Errorf("after it was deleted: %v", err)
	}
}

func TestSDKListsRoleAssignments(t *testing.T) {
	t.Parallel()
	state := seed()
	state.RoleAssignments = []azemu.RoleAssignment{
		{Scope: "/providers/Microsoft.Management/managementGroups/all", PrincipalID: "object-1", Role: "Reader"},
		{Scope: "/subscriptions/" + subscription, PrincipalID: "object-1", Role: "Contributor"},
		{Scope: inGroup, PrincipalID: "object-2", Role: "Virtual Machine Contributor"},
		{Scope: identities + "one", PrincipalID: "object-1", Role: "Managed Identity Operator"},
		{Scope: inGroup + "-2", PrincipalID: "object-1", Role: "Owner"},
		{Scope: inGroup, PrincipalID: "group-1", Role: "Owner"},
	}
	state.Groups = []azemu.Group{{ObjectID: "group-1", Members: []string{"object-3"}}}
	w := start(t, azemu.Config{Seed: state})
	assignments, _ := w.roleClients(t)
	tests := map[string]struct {
		scope, filter string
		want          []string
	}{
		"at, above and below":            {inGroup, "", []string{"MG", "S", "S/G", "S/G", "S/G/one"}},
		"at and above":                   {strings.ToUpper(inGroup), "atScope()", []string{"MG", "S", "S/G", "S/G"}},
		"of a principal":                 {inGroup, "principalId eq 'OBJECT-1'", []string{"MG", "S", "S/G/one"}},
		"assigned to, in a part":         {inGroup, "atScope() and assignedTo('object-1')", []string{"MG", "S"}},
		"assigned to, by a group":        {inGroup, "assignedTo('object-3')", []string{"S/G"}},
		"of a principal, without groups": {inGroup, "principalId eq 'object-3'", nil},
		"of a resource":                  {identities + "one", "assignedTo('object-1')", []string{"MG", "S", "S/G/one"}},
		"of a subscription, everything":  {"/subscriptions/" + subscription, "assignedTo('object-1')", []string{"MG", "S", "S/G-2", "S/G/one"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := &armauthorization.RoleAssignmentsClientListForScopeOptions{}
			if test.filter != "" {
				options.Filter = new(url.PathEscape(test.filter))
			}
			page, err := assignments.NewListForScopePager(test.scope[1:], options).NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			short := strings.NewReplacer("/providers/Microsoft.Management/managementGroups/all", "MG",
				identities, "S/G/", inGroup, "S/G", "/subscriptions/"+subscription, "S")
			var got []string
			for _, a := range page.Value {
				got = append(got, short.Replace(*a.Properties.Scope))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("list (-want +got):\n%s", diff)
			}
		})
	}
	_, err := assignments.NewListForScopePager(inGroup[1:], &armauthorization.RoleAssignmentsClientListForScopeOptions{Filter: new("scope()")}).NextPage(t.Context())
	if code(t, err) != "UnsupportedQuery" {
		t.Errorf("with a filter that is none: %v", err)
	}
	_, err = assignments.NewListForScopePager(inGroup[1:], &armauthorization.RoleAssignmentsClientListForScopeOptions{Filter: new("assignedTo('nobody')")}).NextPage(t.Context())
	if code(t, err) != "PrincipalNotFound" {
		t.Errorf("of one whom nobody knows: %v", err)
	}
}

func TestRoleAssignmentsThatAreRefused(t *testing.T) {
	t.Parallel()
	state := seed()
	state.RoleAssignments = []azemu.RoleAssignment{{Name: someGUID + "1", Scope: inGroup, PrincipalID: "object-1", Role: "Reader"}}
	w := start(t, azemu.Config{Seed: state})
	assignments, _ := w.roleClients(t)
	reader := strings.Replace(operator, "f1a07417-d97a-45cb-824c-7a7467783830", "acdd72a7-3385-48ef-bd42-f606fba81ae7", 1)
	user := assignment("object-1", operator)
	user.Properties.PrincipalType = new(armauthorization.PrincipalTypeUser)
	tests := map[string]struct {
		scope, name string
		body        armauthorization.RoleAssignmentCreateParameters
		want        string
	}{
		"the same under another name":           {inGroup, someGUID + "2", assignment("object-1", reader), "RoleAssignmentExists"},
		"another under the same name":           {inGroup, someGUID + "1", assignment("object-2", reader), "RoleAssignmentUpdateNotPermitted"},
		"a name that is no GUID":                {inGroup, "mine", assignment("object-1", operator), "InvalidRoleAssignmentId"},
		"a principal that nobody knows":         {inGroup, someGUID + "3", assignment("nobody", operator), "PrincipalNotFound"},
		"a principal of another type":           {inGroup, someGUID + "3", user, "UnmatchedPrincipalType"},
		"no principal":                          {inGroup, someGUID + "3", assignment("", operator), "InvalidCreateRoleAssignmentRequest"},
		"a role that does not exist":            {inGroup, someGUID + "3", assignment("object-1", operator+"0"), "RoleDefinitionDoesNotExist"},
		"on an identity that does not exist":    {identities + "none", someGUID + "3", assignment("object-1", operator), "ResourceNotFound"},
		"the same for a principal just created": {inGroup, someGUID + "3", typed(assignment("nobody", operator)), ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := assignments.Create(t.Context(), test.scope[1:], test.name, test.body, nil)
			if got := code(t, err); got != test.want {
				t.Errorf("Create() = %q, want %q (%v)", got, test.want, err)
			}
		})
	}
}

func typed(p armauthorization.RoleAssignmentCreateParameters) armauthorization.RoleAssignmentCreateParameters {
	p.Properties.PrincipalType = new(armauthorization.PrincipalTypeServicePrincipal)
	return p
}

func TestSDKMakesCustomRoles(t *testing.T) {
	t.Parallel()
	w := start(t, azemu.Config{})
	_, definitions := w.roleClients(t)
	scope := "subscriptions/" + subscription
	role := armauthorization.RoleDefinition{Properties: &armauthorization.RoleDefinitionProperties{
		RoleName: new("mine"), RoleType: new("CustomRole"), AssignableScopes: []*string{new("/" + scope)},
		Permissions: []*armauthorization.Permission{{Actions: []*string{new("Microsoft.Compute/*/read")}}},
	}}
	if _, err := definitions.CreateOrUpdate(t.Context(), scope, someGUID+"1", role, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := definitions.CreateOrUpdate(t.Context(), scope, someGUID+"2", role, nil); code(t, err) != "RoleDefinitionWithSameNameExists" {
		t.Errorf("another of the same name: %v", err)
	}
	for name, want := range map[string]int{"mine": 1, "Reader": 1, "Readers": 0} {
		page, err := definitions.NewListPager(scope, &armauthorization.RoleDefinitionsClientListOptions{Filter: new("roleName eq '" + name + "'")}).NextPage(t.Context())
		if err != nil || len(page.Value) != want {
			t.Errorf("%d roles named %s, want %d: %v", len(page.Value), name, want, err)
		}
	}
	if _, err := definitions.Get(t.Context(), "subscriptions/another", someGUID+"1", nil); code(t, err) != "RoleDefinitionDoesNotExist" {
		t.Errorf("where it cannot be assigned: %v", err)
	}
	want := []azemu.RoleDefinition{{
		Name: someGUID + "1", RoleName: "mine", AssignableScopes: []string{"/" + scope},
		Permissions: []roles.Permission{{Actions: []string{"Microsoft.Compute/*/read"}}},
	}}
	if diff := cmp.Diff(want, w.State().RoleDefinitions); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if err := w.SetState(w.State()); err != nil || len(w.State().RoleDefinitions) != 1 {
		t.Errorf("the state, written back: %v", err)
	}
}

func TestEnforcedRoles(t *testing.T) {
	t.Parallel()
	patch := func(names ...string) func(*testing.T, world) error {
		return func(t *testing.T, w world) error {
			t.Helper()
			var full []string
			for _, n := range names {
				full = append(full, identities+n)
			}
			_, err := update(t.Context(), w.compute(t).NewVirtualMachineScaleSetsClient(), assign(add(full...)))
			return err
		}
	}
	get := func(t *testing.T, w world) error {
		t.Helper()
		_, err := w.compute(t).NewVirtualMachinesClient().Get(t.Context(), group, "single", nil)
		return err
	}
	list := func(t *testing.T, w world) error {
		t.Helper()
		_, err := w.compute(t).NewVirtualMachinesClient().NewListPager(group, nil).NextPage(t.Context())
		return err
	}
	give := func(t *testing.T, w world) error {
		t.Helper()
		assignments, _ := w.roleClients(t)
		_, err := assignments.Create(t.Context(), inGroup[1:], someGUID+"1", assignment("object-1", operator), nil)
		return err
	}
	remove := func(t *testing.T, w world) error {
		t.Helper()
		body := assign(map[string]*armcompute.UserAssignedIdentitiesValue{identities + "two": nil})
		_, err := update(t.Context(), w.compute(t).NewVirtualMachineScaleSetsClient(), body)
		return err
	}
	one := azemu.RoleAssignment{Scope: identities + "one", Role: "Managed Identity Operator"}
	machines := azemu.RoleAssignment{Scope: inGroup, Role: "Virtual Machine Contributor"}
	tests := map[string]struct {
		has    []azemu.RoleAssignment
		before []string // what the scale set has
		do     func(*testing.T, world) error
		want   string
		says   []string
	}{
		"nothing lets read nothing": {
			do: get, want: "AuthorizationFailed",
			says: []string{"The client '" + appObject + "'", "'Microsoft.Compute/virtualMachines/read' over scope '" + vmID + "'"},
		},
		"a reader reads": {has: []azemu.RoleAssignment{{Scope: inGroup, Role: "Reader"}}, do: get},
		"a reader lists": {has: []azemu.RoleAssignment{{Scope: inGroup, Role: "Reader"}}, do: list},
		"a reader of one lists nothing": {
			has: []azemu.RoleAssignment{{Scope: vmID, Role: "Reader"}}, do: list, want: "AuthorizationFailed",
		},
		"a reader changes nothing": {
			has: []azemu.RoleAssignment{{Scope: inGroup, Role: "Reader"}, one}, do: patch("one"),
			want: "AuthorizationFailed", says: []string{"Microsoft.Compute/virtualMachineScaleSets/write"},
		},
		"a machine contributor without the identity assigns nothing, and is told of all": {
			has: []azemu.RoleAssignment{machines}, do: patch("one", "two"), want: "LinkedAuthorizationFailed",
			says: []string{"'" + appObject + "'", "'Microsoft.ManagedIdentity/userAssignedIdentities/assign/action'", identities + "one," + identities + "two"},
		},
		"with the role on one of two it is told of the other": {
			has: []azemu.RoleAssignment{machines, one}, do: patch("one", "two"), want: "LinkedAuthorizationFailed", says: []string{"'" + identities + "two'"},
		},
		"one that does not exist is refused in the same words": {
			has: []azemu.RoleAssignment{machines}, do: patch("none"), want: "LinkedAuthorizationFailed",
		},
		"with the role it assigns":                      {has: []azemu.RoleAssignment{machines, one}, do: patch("one")},
		"with the role on the group too":                {has: []azemu.RoleAssignment{machines, {Scope: strings.ToUpper(inGroup), Role: "Managed Identity Operator"}}, do: patch("one", "two")},
		"a contributor assigns":                         {has: []azemu.RoleAssignment{{Scope: "/subscriptions/" + subscription, Role: "Contributor"}}, do: patch("one")},
		"what may not be had by anybody":                {has: []azemu.RoleAssignment{{Scope: "/", Role: "Owner"}}, do: patch("forbidden"), want: "LinkedAuthorizationFailed"},
		"removing takes no right on it":                 {has: []azemu.RoleAssignment{machines}, before: []string{identities + "one", identities + "two"}, do: remove},
		"what is there and named again takes the right": {has: []azemu.RoleAssignment{machines}, before: []string{identities + "one"}, do: patch("one"), want: "LinkedAuthorizationFailed"},
		"a condition counts for nothing":                {has: []azemu.RoleAssignment{{Scope: inGroup, Role: "Reader", Condition: "true"}}, do: get, want: "AuthorizationFailed"},
		"a contributor gives no roles":                  {has: []azemu.RoleAssignment{{Scope: "/", Role: "Contributor"}}, do: give, want: "AuthorizationFailed", says: []string{"Microsoft.Authorization/roleAssignments/write"}},
		"an administrator of access does":               {has: []azemu.RoleAssignment{{Scope: inGroup, Role: "User Access Administrator"}}, do: give},
		"the group's name is not a prefix":              {has: []azemu.RoleAssignment{{Scope: inGroup[:len(inGroup)-1], Role: "Owner"}}, do: get, want: "AuthorizationFailed"},
		"in a group that has it":                        {has: []azemu.RoleAssignment{{Scope: inGroup, Role: "Reader", PrincipalID: someGUID + "8"}}, do: get},
		"in another group than the one that has it":     {has: []azemu.RoleAssignment{{Scope: inGroup, Role: "Reader", PrincipalID: someGUID + "9"}}, do: get, want: "AuthorizationFailed"},
		"who has it is somebody else":                   {has: []azemu.RoleAssignment{{Scope: inGroup, Role: "Owner", PrincipalID: ownerObject}}, do: get, want: "AuthorizationFailed"},
		"an action alone is not the machine":            {has: []azemu.RoleAssignment{one}, do: patch("one"), want: "AuthorizationFailed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state := seed()
			for _, a := range test.has {
				if a.PrincipalID == "" {
					a.PrincipalID = appObject
				}
				state.RoleAssignments = append(state.RoleAssignments, a)
			}
			state.ScaleSets[0].Identity = &azemu.Assigned{UserAssigned: test.before}
			state.Groups = []azemu.Group{{ObjectID: someGUID + "8", Members: []string{strings.ToUpper(appObject)}}, {ObjectID: someGUID + "9", Members: []string{ownerObject}}}
			w := start(t, azemu.Config{Seed: state, EnforceRoles: true})
			err := test.do(t, w)
			if got := code(t, err); got != test.want {
				t.Fatalf("answered %q, want %q (%v)", got, test.want, err)
			}
			for _, says := range test.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("the refusal does not say %q: %v", says, err)
				}
			}
		})
	}
}

func TestStateWithRolesThatMakeNoSense(t *testing.T) {
	t.Parallel()
	fine := azemu.RoleAssignment{Scope: inGroup, PrincipalID: "object-1", Role: "acdd72a7-3385-48ef-bd42-f606fba81ae7"}
	e, err := azemu.New(azemu.Config{Seed: azemu.State{RoleAssignments: []azemu.RoleAssignment{fine}}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for name, s := range map[string]azemu.State{
		"a role that there is not":     {RoleAssignments: []azemu.RoleAssignment{{Scope: inGroup, PrincipalID: "object-1", Role: "King"}}},
		"nobody":                       {RoleAssignments: []azemu.RoleAssignment{{Scope: inGroup, Role: "Reader"}}},
		"nowhere":                      {RoleAssignments: []azemu.RoleAssignment{{PrincipalID: "object-1", Role: "Reader"}}},
		"a role without a name":        {RoleDefinitions: []azemu.RoleDefinition{{AssignableScopes: []string{inGroup}}}},
		"a group that nobody can name": {Groups: []azemu.Group{{Members: []string{"object-1"}}}},
		"a role for everywhere":        {RoleDefinitions: []azemu.RoleDefinition{{RoleName: "mine", AssignableScopes: []string{"/"}}}},
	} {
		if err := e.MergeState(s); err == nil || !strings.HasPrefix(err.Error(), "role ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := e.State().RoleAssignments; len(got) != 1 || got[0].Name == "" || got[0].Role != fine.Role {
		t.Errorf("after all of them: %+v", got)
	}
}

func TestOperationsAreFollowedByThoseWhoMayReadThem(t *testing.T) {
	t.Parallel()
	state := seed()
	state.RoleDefinitions = []azemu.RoleDefinition{{
		RoleName: "machines without operations", AssignableScopes: []string{inGroup},
		Permissions: []roles.Permission{{Actions: []string{"Microsoft.Compute/virtualMachineScaleSets/*", "Microsoft.ManagedIdentity/*"}}},
	}}
	state.RoleAssignments = []azemu.RoleAssignment{{Scope: inGroup, Role: "machines without operations", PrincipalID: appObject}}
	w := start(t, azemu.Config{Seed: state, EnforceRoles: true, ARMDelay: 10_000_000})
	_, err := update(t.Context(), w.compute(t).NewVirtualMachineScaleSetsClient(), assign(add(identities+"one")))
	if code(t, err) != "AuthorizationFailed" || !strings.Contains(err.Error(), "Microsoft.Compute/locations/operations/read") {
		t.Errorf("without the right to read operations: %v", err)
	}
}
