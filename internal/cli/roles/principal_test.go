package roles_test

import (
	"strings"
	"testing"

	"github.com/podid-io/podid/internal/azemu"
)

func TestWhoMicIsByItsConfiguration(t *testing.T) {
	both := azemu.Assigned{Type: "SystemAssigned, UserAssigned", UserAssigned: []string{micID}}
	user := azemu.Assigned{UserAssigned: []string{micID}}
	two := azemu.Assigned{UserAssigned: []string{micID, identities + "one"}}
	for name, test := range map[string]struct {
		set, vm azemu.Assigned
		config  string
		status  int
		want    []string // in what is printed
		mics    int
	}{
		"the identity with a client id, which one of the machines shows": {
			vm: two, config: `"useManagedIdentityExtension": true, "userAssignedIdentityID": "` + strings.ToUpper(micClient) + `"`,
			status: 1, want: []string{"mic is " + micObject + ", the identity of "}, mics: 1,
		},
		"the machines' own, one for each": {
			set: both, vm: azemu.Assigned{Type: "SystemAssigned"}, config: `"useManagedIdentityExtension": true`,
			status: 2, want: []string{"mic may be ", "the identity of " + strings.ToLower(vmID), "the identity of " + strings.ToLower(setID), "PRINCIPAL ", "6 of 6 missing", "Nothing is made: "}, mics: 2,
		},
		"the only one of the machines": {
			set: user, vm: user, config: `"useManagedIdentityExtension": true`, status: 1, want: []string{"mic is " + micObject}, mics: 1,
		},
		"one of two, nobody says which": {
			set: user, vm: two, config: `"useManagedIdentityExtension": true`,
			status: 2, want: []string{"virtual machine mc_group/single has neither", "set userAssignedIdentityID in azure.json, or give --principal-id"},
		},
		"a machine without any, which may be made up": {
			set: user, config: `"useManagedIdentityExtension": true`,
			status: 2, want: []string{"mic may be " + micObject, "virtual machine mc_group/single has no identity with an object id", "Nothing is made: "}, mics: 1,
		},
		"a client id that no machine shows": {
			config: `"useManagedIdentityExtension": true, "userAssignedIdentityID": "another"`,
			status: 2, want: []string{"shows the identity with client id another", "give --identity-resource-id or --principal-id"},
		},
		"an application": {
			config: `"tenantId": "t", "aadClientId": "44444444-4444-4444-4444-444444444444", "aadClientSecret": "hidden"`,
			status: 2, want: []string{`give --principal-id "$(az ad sp show --id 44444444-4444-4444-4444-444444444444 --query id --output tsv)"`},
		},
		"nobody": {status: 2, want: []string{"no credential", "or give --principal-id and --cloud"}, config: `"tenantId": "t"`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			must(t, w.azure.MergeState(azemu.State{ScaleSets: []azemu.ScaleSet{{ID: setID, Identity: &test.set}}, VMs: []azemu.VM{{ID: vmID, Identity: &test.vm}}}))
			file := write(t, "azure.json", `{"cloud": "AzureStackCloud", `+test.config+`}`)
			status, out, errs := w.run("--cloud", "", "--cloud-config", file)
			if status != test.status || strings.Count(out, "\nmic ") != test.mics || strings.Contains(out+errs, "hidden") {
				t.Errorf("status %d, want %d", status, test.status)
			}
			for _, want := range test.want {
				if !strings.Contains(out+errs, want) {
					t.Errorf("%q is not in\n%s%s", want, out, errs)
				}
			}
			if test.status != 2 {
				return
			}
			if status, _, errs := w.run("--cloud", "", "--cloud-config", file, "--principal-id", micObject); status != 1 && name != "nobody" {
				t.Errorf("with --principal-id, status %d: %s", status, errs)
			}
		})
	}
}

func TestWhatIsWrongIsTold(t *testing.T) {
	w := newWorld(t)
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"nobody":                          {nil, "who is mic? Give one of --principal-id, --identity-resource-id and --cloud-config"},
		"two":                             {[]string{"--principal-id", micObject, "--identity-resource-id", micID}, "both say who mic is"},
		"a client id's look-alike":        {[]string{"--principal-id", "mic"}, "--principal-id=mic: want a GUID"},
		"an object id that ends a filter": {[]string{"--principal-id", "' or principalId eq '"}, "want a GUID"},
		"an identity that is none":        {[]string{"--identity-resource-id", setID}, "--identity-resource-id=" + setID + ": want /subscriptions/S/"},
		"an identity that is not there":   {[]string{"--identity-resource-id", identities + "none"}, "read the identity " + identities + "none: 404 ResourceNotFound: "},
		"an unknown output":               {[]string{"--principal-id", micObject, "-o", "yaml"}, "--output=yaml: write table or json"},
		"an unknown scope":                {[]string{"--principal-id", micObject, "--identity-scope", "all"}, "write identity or resource-group"},
		"a delegate that is none":         {[]string{"--principal-id", micObject, "--delegated-managed-identity-resource-id", "mic"}, "want the ARM id of a resource"},
		"a tenant that is none":           {[]string{"--principal-id", micObject, "--principal-tenant-id", "contoso"}, "--principal-tenant-id=contoso: want a GUID"},
		"an unknown cloud":                {[]string{"--principal-id", micObject, "--cloud", "Azur"}, `--cloud: cloud "Azur" is unknown`},
		"an unknown flag":                 {[]string{"--colour"}, "unknown flag: --colour"},
		"an argument":                     {[]string{"now"}, `argument "now": the command takes none`},
		"no azure.json":                   {[]string{"--cloud-config", "/nowhere/azure.json"}, "/nowhere/azure.json: no such file"},
		"no cluster":                      {[]string{"--principal-id", micObject, "--kubeconfig", "/nowhere/kubeconfig"}, "/nowhere/kubeconfig: no such file"},
		"a cluster that is away":          {[]string{"--principal-id", micObject, "--server", "https://127.0.0.1:1"}, "127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			status, out, errs := w.run(test.args...)
			if status != 2 || out != "" || !strings.HasPrefix(errs, "podid roles: ") || !strings.Contains(errs, test.want) || strings.Count(errs, "\n") != 1 {
				t.Errorf("status %d: %s%s", status, out, errs)
			}
		})
	}
	w.env["AZURE_ENVIRONMENT_FILEPATH"] = ""
	if status, _, errs := w.run("--principal-id", micObject); status != 2 || !strings.Contains(errs, "set AZURE_ENVIRONMENT_FILEPATH") {
		t.Errorf("without endpoints, status %d: %s", status, errs)
	}
	if n := w.writes(); n > 0 {
		t.Errorf("%d writes", n)
	}
}

func TestAClusterWithoutMachinesOfAzureIsTold(t *testing.T) {
	w := newAzure(t)
	status, out, errs := w.run("--principal-id", micObject)
	if status != 2 || out != "" || errs != "podid roles: no node of this cluster is a machine of Azure: is it the right cluster?\n" {
		t.Errorf("status %d: %s%s", status, out, errs)
	}
}

func TestAzureThatCannotBeSignedInToIsTold(t *testing.T) {
	w := newWorld(t)
	t.Setenv("AZURE_CLIENT_SECRET", "a wrong one")
	status, _, errs := w.run("--principal-id", micObject)
	if status != 2 || !strings.Contains(errs, "AADSTS7000215") || strings.Contains(errs, "a wrong one") {
		t.Errorf("status %d: %s", status, errs)
	}
}
