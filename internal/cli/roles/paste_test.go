package roles_test

import (
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/podid-io/podid/internal/azemu"
)

// az is the part of az that is needed, by the words that a shell gave it.
func (w *world) az(t *testing.T, args []string) {
	t.Helper()
	if len(args) != 7 || strings.Join([]string{args[0], args[1], args[2], args[3], args[5]}, " ") != "rest --method put --url --body" {
		t.Fatalf("az %q", args)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, w.url+args[4], strings.NewReader(args[6]))
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
		t.Errorf("az %q: %s", args, answer.Status)
	}
}

// TestTheCommandsMakeWhatIsMissing pastes what is printed into a shell.
func TestTheCommandsMakeWhatIsMissing(t *testing.T) {
	w := newWorld(t)
	flags := []string{"--principal-id", micObject, "--least-privilege", "--delegated-managed-identity-resource-id", micID}
	status, out, _ := w.run(flags...)
	_, commands, found := strings.Cut(out, "or run:\n")
	if status != 1 || !found {
		t.Fatalf("status %d: %s", status, out)
	}
	shell := exec.CommandContext(t.Context(), "/bin/sh", "-c", `az() { printf '%s\037' "$@"; printf '\n'; }`+"\n"+commands)
	words, err := shell.Output()
	must(t, err)
	lines := strings.Split(strings.TrimSpace(string(words)), "\n")
	if len(lines) != 5 {
		t.Errorf("%d commands, want 2 roles and 3 assignments: %s", len(lines), commands)
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
}
