package roles_test

import (
	"strings"
	"testing"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
)

// TestAnIdentityThatPodsMayHaveIsNotMics: an AzureIdentity says by a resource id or by
// a client id what pods get, and both may be mic's.
func TestAnIdentityThatPodsMayHaveIsNotMics(t *testing.T) {
	const refused = " is the identity of AzureIdentity default/trap too: pods that have it would have mic's roles"
	byObject, byResource := []string{"--principal-id", micObject}, []string{"--identity-resource-id", micID}
	byConfig := func(t *testing.T) []string { t.Helper(); return config(t, micClient) }
	always := func(args []string) func(*testing.T) []string {
		return func(*testing.T) []string { return args }
	}
	for sentence, test := range map[string]struct {
		resourceID, clientID string
		who                  func(*testing.T) []string
		want                 string
	}{
		"by its resource id, mic by its object id":                   {strings.ToUpper(identities) + "MIC", "", always(byObject), micObject + refused},
		"by its client id alone, mic by its resource id":             {"", strings.ToUpper(micClient), always(byResource), micID + refused},
		"by its client id beside another's resource id":              {identities + "one", micClient, always(byResource), micID + refused},
		"by its client id alone, mic by what a machine shows":        {"", micClient, byConfig, refused},
		"by its client id beside another's, by what a machine shows": {identities + "one", micClient, byConfig, refused},
	} {
		t.Run(sentence, func(t *testing.T) {
			w := newAzure(t)
			must(t, w.azure.MergeState(azemu.State{VMs: []azemu.VM{{ID: vmID, Identity: &azemu.Assigned{UserAssigned: []string{micID}}}}}))
			populate(t, identity("trap", v1.AzureIdentitySpec{Type: new(v1.UserAssignedMSI), ResourceID: test.resourceID, ClientID: test.clientID}))
			w.says(t, 2, append(test.who(t), "--apply"), test.want)
			if w.writes() > 0 {
				t.Errorf("%d writes", w.writes())
			}
		})
	}
}

func TestAnApplicationThatPodsMayHaveIsNotMics(t *testing.T) {
	w := newAzure(t)
	populate(t, identity("trap", v1.AzureIdentitySpec{
		Type: new(v1.ServicePrincipal), TenantID: azemu.DefaultTenant, ClientID: strings.ToUpper(micClient),
		ClientPassword: &v1.SecretReference{Namespace: "default", Name: "password"},
	}))
	w.says(t, 2, []string{"--identity-resource-id", micID, "--apply"}, micID+" is the identity of AzureIdentity default/trap too")
	w.says(t, 1, []string{"--principal-id", micObject}, "not that of mic's own identity, which is not known here: ", "default/trap")
}

// azure.json says which client id mic has, also where it does not say which object id.
func TestWhatMicsConfigurationSaysIsNotForPods(t *testing.T) {
	const refused = micObject + " is the identity of AzureIdentity default/trap too: pods that have it would have mic's roles"
	application := v1.AzureIdentitySpec{
		Type: new(v1.ServicePrincipal), TenantID: azemu.DefaultTenant, ClientID: strings.ToUpper(micClient),
		ClientPassword: &v1.SecretReference{Namespace: "default", Name: "password"},
	}
	const another = "44444444-4444-4444-4444-44444444444c"
	for sentence, test := range map[string]struct {
		config string
		trap   v1.AzureIdentitySpec
		status int
		want   string
	}{
		"an application by its client id": {`"tenantId": "t", "aadClientId": "` + micClient + `", "aadClientSecret": "hidden"`, application, 2, refused},
		"a managed identity by its client id": {
			config: `"useManagedIdentityExtension": true, "userAssignedIdentityID": "` + micClient + `"`,
			trap:   v1.AzureIdentitySpec{Type: new(v1.UserAssignedMSI), ClientID: micClient}, status: 2, want: refused,
		},
		"by the object id of what it names, whatever azure.json says": {
			config: `"tenantId": "t", "aadClientId": "` + another + `", "aadClientSecret": "hidden"`,
			trap:   v1.AzureIdentitySpec{Type: new(v1.UserAssignedMSI), ClientID: "c", ResourceID: micID}, status: 2, want: refused,
		},
		"another's, who mic need not be": {
			`"tenantId": "t", "aadClientId": "` + another + `", "aadClientSecret": "hidden"`, application, 0,
			"make sure that the clientID of these AzureIdentities is not that of mic's own identity, which is not known here: default/application, default/one, default/one-again, default/trap, default/two-old-spelling",
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			w := newAzure(t)
			populate(t, identity("trap", test.trap))
			file := write(t, "azure.json", `{"cloud": "AzureStackCloud", `+test.config+`}`)
			w.says(t, test.status, []string{"--cloud", "", "--cloud-config", file, "--principal-id", micObject, "--apply"}, test.want)
			if made := len(w.given()); made > 0 != (test.status == 0) {
				t.Errorf("mic was given %d roles", made)
			}
		})
	}
}

// The object id alone does not say whose a client id is.
func TestAClientIDThatMayBeMicsIsTold(t *testing.T) {
	w := newAzure(t)
	populate(t, identity("alone", v1.AzureIdentitySpec{Type: new(v1.UserAssignedMSI), ClientID: micClient}))
	const told = "make sure that the clientID of these AzureIdentities is not that of mic's own identity, which is not known here: default/alone, default/application, default/one"
	w.says(t, 1, []string{"--principal-id", micObject}, told)
}

func TestAClientIDThatItsResourceHasIsNotTold(t *testing.T) {
	w := newAzure(t)
	must(t, w.azure.MergeState(azemu.State{Identities: []azemu.Identity{{ID: identities + "honest", ClientID: "44444444-4444-4444-4444-44444444444c"}}}))
	populate(t, identity("honest", v1.AzureIdentitySpec{Type: new(v1.UserAssignedMSI), ClientID: "44444444-4444-4444-4444-44444444444C", ResourceID: identities + "honest"}))
	if _, out, _ := w.run("--principal-id", micObject); !strings.Contains(out, "make sure") || strings.Contains(out, "known here: default/honest") {
		t.Errorf("told of one that is as it says: %s", out)
	}
}

func TestAnIdentityThatCannotBeReadMayBeMics(t *testing.T) {
	w := newWorld(t)
	w.owner(t, azemu.RoleAssignment{Scope: nodeGroup, Role: "Owner"})
	w.says(t, 2, []string{"--principal-id", micObject}, "left out: whether AzureIdentity default/one names mic's own identity: read the identity "+identities+"one: 403 AuthorizationFailed: The client '")
}
