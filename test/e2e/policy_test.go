package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// installPolicies creates what is in config/policy and returns when it is in
// force, of which the API server tells nobody: it is asked, with what both
// policies refuse.
func installPolicies(t *testing.T, c client.Client) {
	t.Helper()
	files, err := filepath.Glob("../../config/policy/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no policies: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for doc := range strings.SplitSeq(string(text), "\n---\n") {
			if err := c.Create(t.Context(), parse(t, doc)); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
		}
	}
	for _, refused := range []string{
		application("tenantID: contoso.com, adEndpoint: 'https://evil.example'"),
		"{type: 1, clientID: c, tenantID: contoso.com, clientPassword: {name: s, namespace: kube-system}}",
	} {
		timeout := time.After(3 * time.Minute)
		for err := error(nil); !apierrors.IsForbidden(err); {
			err = c.Create(t.Context(), azureIdentity(t, "asking", refused), client.DryRunAll)
			select {
			case <-time.After(50 * time.Millisecond):
			case <-timeout:
				t.Fatalf("no policy is in force after 3 minutes: %v", err)
			}
		}
	}
}

func azureIdentity(t *testing.T, name, spec string) client.Object {
	t.Helper()
	return parse(t, fmt.Sprintf("{apiVersion: aadpodidentity.k8s.io/v1, kind: AzureIdentity, metadata: {name: %s, namespace: default}, spec: %s}", name, spec))
}

func TestPolicies(t *testing.T) {
	_, c := apiServer(t)
	const foreign = "clientPassword names a Secret of another namespace"
	const host = "no known host of Entra"
	secret := func(reference string) string {
		return "{type: 2, clientID: c, tenantID: contoso.com, " + reference + "}"
	}
	before := azureIdentity(t, "from-before", application("tenantID: contoso.com, adEndpoint: 'https://login.corp.example'"))
	if err := c.Create(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	installPolicies(t, c)
	tests := map[string]struct {
		spec string
		want string // in the refusal; empty: taken
	}{
		"a managed identity":                               {"{clientID: c}", ""},
		"a managed identity with what nobody reads":        {"{clientID: c, adEndpoint: 'https://evil.example'}", ""},
		"the default":                                      {application("tenantID: contoso.com"), ""},
		"an empty authority":                               {application("tenantID: contoso.com, adEndpoint: ''"), ""},
		"the public cloud":                                 {application("tenantID: contoso.com, adEndpoint: 'https://login.microsoftonline.com/'"), ""},
		"the public cloud, any case, its port":             {application("tenantID: contoso.com, adEndpoint: 'https://Login.MicrosoftOnline.com:443'"), ""},
		"another cloud, in the old spelling":               {application("tenantID: contoso.com, ADEndpoint: 'https://login.chinacloudapi.cn'"), ""},
		"a host of the author's own":                       {application("tenantID: contoso.com, adEndpoint: 'https://evil.example'"), host},
		"the same in the old spelling":                     {application("tenantID: contoso.com, ADEndpoint: 'https://evil.example'"), host},
		"the same, of the old type":                        {"{Type: 2, ClientID: c, TenantID: contoso.com, ADEndpoint: 'https://evil.example', ClientPassword: {Name: s}}", host},
		"another port":                                     {application("tenantID: contoso.com, adEndpoint: 'https://login.microsoftonline.com:8443'"), host},
		"a known host as a beginning":                      {application("tenantID: contoso.com, adEndpoint: 'https://login.microsoftonline.com.evil.example'"), host},
		"a host that ends like a known one":                {application("tenantID: contoso.com, adEndpoint: 'https://evil-login.microsoftonline.com'"), host},
		"a secret of the same namespace":                   {secret("clientPassword: {name: s, namespace: default}"), ""},
		"an empty namespace":                               {secret("clientPassword: {name: s, namespace: ''}"), ""},
		"a secret of another namespace":                    {secret("clientPassword: {name: s, namespace: kube-system}"), foreign},
		"the same, the namespace in the old spelling":      {secret("clientPassword: {name: s, Namespace: kube-system}"), foreign},
		"the same, the reference in the old spelling":      {secret("ClientPassword: {Name: s, namespace: kube-system}"), foreign},
		"the same, all in the old spelling":                {secret("ClientPassword: {Name: s, Namespace: kube-system}"), foreign},
		"the same, of a managed identity that may turn":    {"{clientID: c, clientPassword: {name: s, namespace: kube-system}}", foreign},
		"a namespace that is equal but for its upper case": {secret("clientPassword: {name: s, namespace: Default}"), foreign},
	}
	i := 0
	for name, tc := range tests {
		i++
		o := azureIdentity(t, fmt.Sprintf("case-%d", i), tc.spec)
		t.Run(name, func(t *testing.T) {
			err := c.Create(t.Context(), o)
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.want != "" && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("Create() = %v, want a refusal that says %q", err, tc.want)
			}
		})
	}
	t.Run("what was there before may be labelled, and not changed for the worse", func(t *testing.T) {
		before.SetLabels(map[string]string{"a": "b"})
		if err := c.Update(t.Context(), before); err != nil {
			t.Errorf("label: %v", err)
		}
		changed := azureIdentity(t, "from-before", application("tenantID: contoso.com, adEndpoint: 'https://evil.example'"))
		changed.SetResourceVersion(before.GetResourceVersion())
		if err := c.Update(t.Context(), changed); !apierrors.IsForbidden(err) {
			t.Errorf("change: %v, want a refusal", err)
		}
	})
}
