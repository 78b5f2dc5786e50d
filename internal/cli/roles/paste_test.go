package roles_test

import (
	"encoding/json"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/internal/azemu"
)

// az is the part of az that is needed, by the words that a shell gave it.
func (w *world) az(t *testing.T, args []string) {
	t.Helper()
	if len(args) == 0 || args[0] != "role" {
		if len(args) != 7 || strings.Join([]string{args[0], args[1], args[2], args[3], args[5]}, " ") != "rest --method put --url --body" {
			t.Fatalf("az %q", args)
		}
		w.put(t, args[4], args[6])
		return
	}
	flags := map[string]string{}
	for i := 3; i+1 < len(args); i += 2 {
		flags[args[i]] = args[i+1]
	}
	if strings.Join(args[:3], " ") != "role assignment create" || len(args) != 15 || len(flags) != 6 || flags["--assignee-principal-type"] != "ServicePrincipal" {
		t.Fatalf("az %q", args)
	}
	body, err := json.Marshal(map[string]any{"properties": map[string]string{
		"principalId": flags["--assignee-object-id"], "principalType": "ServicePrincipal",
		"roleDefinitionId": "/subscriptions/" + flags["--subscription"] + "/providers/Microsoft.Authorization/roleDefinitions/" + flags["--role"],
	}})
	must(t, err)
	w.put(t, flags["--scope"]+"/providers/Microsoft.Authorization/roleAssignments/"+flags["--name"]+"?api-version=2022-04-01", string(body))
}

// put sends a PUT as the administrator, of whom it makes something new.
func (w *world) put(t *testing.T, path, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, w.url+path, strings.NewReader(body))
	must(t, err)
	options := &azidentity.ClientSecretCredentialOptions{DisableInstanceDiscovery: true}
	options.Cloud, options.Transport = w.cloud(), w.http
	credential, err := azidentity.NewClientSecretCredential(azemu.DefaultTenant, "admin", "secret", options)
	must(t, err)
	token, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://management.azure.com/.default"}})
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+token.Token)
	answer, err := w.http.Do(r)
	must(t, err)
	must(t, answer.Body.Close())
	if answer.StatusCode != http.StatusCreated {
		t.Errorf("PUT %s %s: %s", path, body, answer.Status)
	}
}

// TestTheCommandsMakeWhatIsMissing pastes what is printed into a shell. What they
// make is what --apply makes, under the same names.
func TestTheCommandsMakeWhatIsMissing(t *testing.T) {
	for sentence, test := range map[string]struct {
		flags    []string
		commands int
	}{
		"as it is":                    {nil, 3},
		"custom roles":                {[]string{"--least-privilege"}, 5},
		"custom roles, and delegated": {[]string{"--least-privilege", "--delegated-managed-identity-resource-id", micID, "--principal-tenant-id", azemu.DefaultTenant}, 5},
	} {
		t.Run(sentence, func(t *testing.T) {
			w := newWorld(t)
			flags := append([]string{"--principal-id", micObject}, test.flags...)
			status, out, _ := w.run(flags...)
			_, commands, found := strings.Cut(out, "and run:\n")
			if status != 1 || !found {
				t.Fatalf("status %d: %s", status, out)
			}
			shell := exec.CommandContext(t.Context(), "/bin/sh", "-c", `az() { printf '%s\037' "$@"; printf '\n'; }`+"\n"+commands)
			words, err := shell.Output()
			must(t, err)
			lines := strings.Split(strings.TrimSpace(string(words)), "\n")
			if len(lines) != test.commands {
				t.Errorf("%d commands, want %d: %s", len(lines), test.commands, commands)
			}
			for _, line := range lines {
				w.az(t, strings.Split(strings.TrimSuffix(line, "\037"), "\037"))
			}
			if status, out, errs := w.run(flags...); status != 0 {
				t.Errorf("after the commands, status %d: %s%s", status, out, errs)
			}
			if err := attach(t, w.mic(t), "one"); err != nil {
				t.Error(err)
			}
			pasted := w.azure.State()
			w = newAzure(t) // the cluster is as it was
			w.run(append(flags, "--apply")...)
			if diff := cmp.Diff(pasted.RoleAssignments, w.azure.State().RoleAssignments); diff != "" {
				t.Errorf("made by the commands, and by --apply (-commands +apply):\n%s", diff)
			}
		})
	}
}
