package entra_test

import (
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/internal/entra"
)

// refusing is a transport that answers nothing, and notes who was asked.
type refusing []string

func (r *refusing) RoundTrip(q *http.Request) (*http.Response, error) {
	*r = append(*r, q.URL.Host)
	return &http.Response{StatusCode: http.StatusBadRequest, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}")), Request: q}, nil
}

// On a VM of Azure there is a managed identity always: it is not to be taken for the
// person.
func TestThePersonIsNotTheMachine(t *testing.T) {
	for sentence, test := range map[string]struct {
		managed bool
		want    []string // who is asked
	}{
		"nobody is signed in":       {false, nil},
		"the machine was asked for": {true, []string{"169.254.169.254"}},
	} {
		t.Run(sentence, func(t *testing.T) {
			for _, k := range []string{"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE", "IDENTITY_ENDPOINT", "MSI_ENDPOINT"} {
				t.Setenv(k, "")
			}
			t.Setenv("PATH", t.TempDir()) // without az and the others
			var asked refusing
			credential, err := entra.PersonCredential(entra.PersonConfig{
				Cloud: cloud.AzurePublic, ManagedIdentity: test.managed, Transport: &http.Client{Transport: &asked},
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err = entra.AccountOf(t.Context(), credential, cloud.AzurePublic); err == nil || !strings.HasPrefix(err.Error(), "sign in to Azure: ") || strings.Contains(err.Error(), "ManagedIdentity") != test.managed {
				t.Errorf("AccountOf() = %v", err)
			}
			if len(asked) > 1 {
				asked = asked[:1] // it may try again
			}
			if diff := cmp.Diff(test.want, []string(asked)); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnAccountIsWhatTheTokenSays(t *testing.T) {
	claims := func(s string) string { return "e30." + base64.RawURLEncoding.EncodeToString([]byte(s)) + ".c2ln" }
	for sentence, test := range map[string]struct {
		token string
		want  entra.Account
	}{
		"a person":                    {claims(`{"upn":"jane@contoso.com","appid":"az","oid":"o","tid":"t"}`), entra.Account{Name: "jane@contoso.com", ObjectID: "o", TenantID: "t"}},
		"an application":              {claims(`{"appid":"a","oid":"o","tid":"t"}`), entra.Account{Name: "a", ObjectID: "o", TenantID: "t"}},
		"a guest":                     {claims(`{"unique_name":"live.com#jane@example.com","appid":"az","idtyp":"user","oid":"o","tid":"t"}`), entra.Account{Name: "live.com#jane@example.com", ObjectID: "o", TenantID: "t"}},
		"an application that says so": {claims(`{"unique_name":"n","appid":"a","idtyp":"app","oid":"o","tid":"t"}`), entra.Account{Name: "a", ObjectID: "o", TenantID: "t"}},
		"nothing":                     {claims(`{}`), entra.Account{}},
		"claims that are odd":         {claims(`{"oid":7}`), entra.Account{}},
		"no claims":                   {"e30.!.c2ln", entra.Account{}},
		"no token of Entra's":         {"opaque", entra.Account{}},
	} {
		t.Run(sentence, func(t *testing.T) {
			if diff := cmp.Diff(test.want, entra.AccountIn(test.token)); diff != "" {
				t.Errorf("accountIn() (-want +got):\n%s", diff)
			}
		})
	}
}
