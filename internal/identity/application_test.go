package identity_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
)

const tenant = "cccccccc-0000-0000-0000-000000000000"

func TestApplication(t *testing.T) {
	const public = "https://login.microsoftonline.com"
	hosts := identity.Rules{AuthorityHosts: []string{"login.corp.example:8443", "entra.corp.example"}}
	across := identity.Rules{AcrossNamespaces: true}
	tests := map[string]struct {
		edit  func(*identity.Identity)
		rules identity.Rules
		want  string // the authority; empty: refused
		says  string // part of the refusal
	}{
		"the default":                       {func(*identity.Identity) {}, identity.Rules{}, public, ""},
		"a default of the operator":         {func(*identity.Identity) {}, identity.Rules{DefaultAuthority: "Login.MicrosoftOnline.us"}, "https://login.microsoftonline.us", ""},
		"a certificate":                     {func(i *identity.Identity) { i.Type = v1.ServicePrincipalCertificate }, identity.Rules{}, public, ""},
		"a managed identity":                {func(i *identity.Identity) { i.Type = v1.UserAssignedMSI }, identity.Rules{}, "", "is no application"},
		"an unknown type":                   {func(i *identity.Identity) { i.Type = 7 }, identity.Rules{}, "", "is no application"},
		"no client id":                      {func(i *identity.Identity) { i.ClientID = "" }, identity.Rules{}, "", "clientID is missing"},
		"a domain name":                     {tenantID("contoso.onmicrosoft.com"), identity.Rules{}, public, ""},
		"any tenant":                        {tenantID("common"), identity.Rules{}, "", "is no tenant"},
		"no tenant":                         {tenantID(""), identity.Rules{}, "", "is no tenant"},
		"a path for a tenant":               {tenantID(tenant + "/../evil.example"), identity.Rules{}, "", "is no tenant"},
		"dots for a tenant":                 {tenantID(".."), identity.Rules{}, "", "is no tenant"},
		"a query in a tenant":               {tenantID("contoso.com?x=y"), identity.Rules{}, "", "is no tenant"},
		"an escape in a tenant":             {tenantID("contoso.com%2f"), identity.Rules{}, "", "is no tenant"},
		"a line break behind a tenant":      {tenantID("contoso.com\n"), identity.Rules{}, "", "is no tenant"},
		"another script in a tenant":        {tenantID("contoѕo.com"), identity.Rules{}, "", "is no tenant"},
		"a tenant longer than any":          {tenantID(strings.Repeat("a.", 130) + "a"), identity.Rules{}, "", "is no tenant"},
		"auxiliary tenants":                 {auxiliary(tenant, "a.example", "b.example"), identity.Rules{}, public, ""},
		"too many auxiliary tenants":        {auxiliary(tenant, tenant, tenant, tenant), identity.Rules{}, "", "at most 3"},
		"an auxiliary tenant that is none":  {auxiliary("a.example", "../x"), identity.Rules{}, "", "auxiliary tenant"},
		"the public cloud by name":          {endpoint("https://Login.MicrosoftOnline.com/"), identity.Rules{}, public, ""},
		"its port by name":                  {endpoint("https://login.microsoftonline.com:443"), identity.Rules{}, public, ""},
		"a cloud of its own":                {endpoint("https://login.partner.microsoftonline.cn/"), identity.Rules{}, "https://login.partner.microsoftonline.cn", ""},
		"without encryption":                {endpoint("http://login.microsoftonline.com"), identity.Rules{}, "", "must be https"},
		"without a scheme":                  {endpoint("login.microsoftonline.com"), identity.Rules{}, "", "must be https"},
		"another port of a known host":      {endpoint("https://login.microsoftonline.com:8443"), identity.Rules{}, "", "no known host"},
		"a host of the author's own":        {endpoint("https://evil.example"), identity.Rules{}, "", "no known host"},
		"a known host as a user":            {endpoint("https://login.microsoftonline.com@evil.example"), identity.Rules{}, "", "must be https"},
		"a known host as a label":           {endpoint("https://login.microsoftonline.com.evil.example"), identity.Rules{}, "", "no known host"},
		"a known host as a path":            {endpoint("https://evil.example/login.microsoftonline.com"), identity.Rules{}, "", "must be https"},
		"a backslash":                       {endpoint(`https://evil.example\@login.microsoftonline.com`), identity.Rules{}, "", "adEndpoint"},
		"a user at a known host":            {endpoint("https://u:p@login.microsoftonline.com"), identity.Rules{}, "", "must be https"},
		"a path at a known host":            {endpoint("https://login.microsoftonline.com/x"), identity.Rules{}, "", "must be https"},
		"an escaped path at a known host":   {endpoint("https://login.microsoftonline.com/%2e"), identity.Rules{}, "", "must be https"},
		"a query at a known host":           {endpoint("https://login.microsoftonline.com/?x"), identity.Rules{}, "", "must be https"},
		"an empty query at a known host":    {endpoint("https://login.microsoftonline.com?"), identity.Rules{}, "", "must be https"},
		"a fragment at a known host":        {endpoint("https://login.microsoftonline.com/#x"), identity.Rules{}, "", "must be https"},
		"a dot behind a known host":         {endpoint("https://login.microsoftonline.com./"), identity.Rules{}, "", "no known host"},
		"a line break":                      {endpoint("https://login.microsoftonline.com\n"), identity.Rules{}, "", "adEndpoint"},
		"an allowed host":                   {endpoint("https://ENTRA.corp.example"), hosts, "https://entra.corp.example", ""},
		"an allowed host on another port":   {endpoint("https://entra.corp.example:1"), hosts, "", "--authority-hosts"},
		"an allowed host and port":          {endpoint("https://login.corp.example:8443/"), hosts, "https://login.corp.example:8443", ""},
		"an allowed host without its port":  {endpoint("https://login.corp.example/"), hosts, "", "--authority-hosts"},
		"the operator's default, by name":   {endpoint("https://login.corp.example:8443/"), identity.Rules{DefaultAuthority: "login.corp.example:8443"}, "https://login.corp.example:8443", ""},
		"no secret":                         {secret("", ""), identity.Rules{}, "", "names no Secret"},
		"a path for a secret":               {secret("team", "../../x"), identity.Rules{}, "", "names no Secret"},
		"a secret of another namespace":     {secret("kube-system", "s"), identity.Rules{}, "", "must be in that of the identity"},
		"the same, where that is allowed":   {secret("kube-system", "s"), across, public, ""},
		"the same, of one that keeps to it": {func(i *identity.Identity) { i.Namespaced = true; i.Application.SecretNamespace = "x" }, across, "", "must be in that of the identity"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			id := identity.Identity{
				Namespace: "team", Name: "app", Type: v1.ServicePrincipal, ClientID: clientA,
				Application: identity.Application{TenantID: tenant, SecretNamespace: "team", SecretName: "s"},
			}
			tc.edit(&id)
			got, err := tc.rules.Application(id)
			switch {
			case got != tc.want:
				t.Errorf("Application() = %q, %v; want %q", got, err, tc.want)
			case (err == nil) != (tc.want != ""):
				t.Errorf("Application() = %q with the error %v", got, err)
			case err != nil && (!strings.Contains(err.Error(), tc.says) || !strings.HasPrefix(err.Error(), "AzureIdentity team/app: ")):
				t.Errorf("Application() = %v, which does not say %q", err, tc.says)
			}
		})
	}
}

func tenantID(t string) func(*identity.Identity) {
	return func(i *identity.Identity) { i.Application.TenantID = t }
}

func auxiliary(t ...string) func(*identity.Identity) {
	return func(i *identity.Identity) { i.Application.AuxiliaryTenantIDs = t }
}

func endpoint(e string) func(*identity.Identity) {
	return func(i *identity.Identity) { i.Application.Authority = e }
}

func secret(namespace, name string) func(*identity.Identity) {
	return func(i *identity.Identity) {
		i.Application.SecretNamespace, i.Application.SecretName = namespace, name
	}
}

func TestFromAPIReadsTheApplication(t *testing.T) {
	tests := map[string]struct {
		spec v1.AzureIdentitySpec
		want identity.Application
	}{
		"today's names": {
			v1.AzureIdentitySpec{
				TenantID: "Contoso.COM", AuxiliaryTenantIDs: []string{"A.Example"}, ADEndpoint: "https://login.microsoftonline.us/",
				ClientPassword: &v1.SecretReference{Name: "s", Namespace: "elsewhere"},
			},
			identity.Application{
				TenantID: "contoso.com", AuxiliaryTenantIDs: []string{"a.example"}, Authority: "https://login.microsoftonline.us/",
				SecretNamespace: "elsewhere", SecretName: "s",
			},
		},
		"old names, and a secret beside the identity": {
			v1.AzureIdentitySpec{OldTenantID: "T", OldAuxiliaryTenantIDs: []string{"X"}, OldADEndpoint: "e", OldClientPassword: &v1.SecretReference{OldName: "s"}},
			identity.Application{TenantID: "t", AuxiliaryTenantIDs: []string{"x"}, Authority: "e", SecretNamespace: "ns", SecretName: "s"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			o := &v1.AzureIdentity{Spec: tc.spec}
			o.Namespace = "ns"
			if diff := cmp.Diff(tc.want, identity.FromAPI(o).Application); diff != "" {
				t.Errorf("FromAPI() (-want +got):\n%s", diff)
			}
		})
	}
}
