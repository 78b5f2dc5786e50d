package identity

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/podid-io/podid/api/v1"
)

// MaxAuxiliaryTenants is how many auxiliary tenants an application may name, as
// with AAD Pod Identity.
const MaxAuxiliaryTenants = 3

// defaultAuthority is the Entra host of the public cloud.
const defaultAuthority = "login.microsoftonline.com"

// KnownAuthority reports whether a host, in lower case, is Entra's in any of its
// clouds.
func KnownAuthority(host string) bool {
	switch host {
	case defaultAuthority, "login.microsoft.com", "login.windows.net", "sts.windows.net",
		"login.microsoftonline.us", "login-us.microsoftonline.com",
		"login.chinacloudapi.cn", "login.partner.microsoftonline.cn",
		"login.microsoftonline.de":
		return true
	default:
		return false
	}
}

// applicationFromAPI reads how to sign in from a canonical spec.
func applicationFromAPI(namespace string, s v1.AzureIdentitySpec) Application {
	a := Application{TenantID: strings.ToLower(s.TenantID), Authority: s.ADEndpoint}
	for _, t := range s.AuxiliaryTenantIDs {
		a.AuxiliaryTenantIDs = append(a.AuxiliaryTenantIDs, strings.ToLower(t))
	}
	if p := s.ClientPassword; p != nil && p.Name != "" {
		a.SecretName, a.SecretNamespace = p.Name, namespace
		if p.Namespace != "" {
			a.SecretNamespace = p.Namespace
		}
	}
	return a
}

// Application checks how an identity of type 1 or 2 signs in, and returns the
// authority that its secret may be sent to, like https://login.microsoftonline.com.
//
// The API server has refused most of what is refused here. It is checked again
// because here is where it counts: whoever writes an AzureIdentity must not have
// a secret of another namespace used, nor any secret posted to a host of his
// own, nor a path of his own to a host of Entra. Auxiliary tenants are allowed
// for both types; AAD Pod Identity passed over those of type 2.
func (r Rules) Application(id Identity) (authority string, err error) {
	err = r.checkSecret(id)
	if err == nil {
		err = checkTenants(id.Application)
	}
	if err == nil {
		authority, err = r.Authority(id.Application.Authority)
	}
	if err != nil {
		return "", fmt.Errorf("AzureIdentity %s/%s: %w", id.Namespace, id.Name, err)
	}
	return authority, nil
}

// checkSecret checks who signs in, and with whose secret.
func (r Rules) checkSecret(id Identity) error {
	a := id.Application
	switch {
	case id.Type != v1.ServicePrincipal && id.Type != v1.ServicePrincipalCertificate:
		return fmt.Errorf("type %d is no application: only 1 and 2 are", id.Type)
	case id.ClientID == "":
		return errors.New("clientID is missing: write the application (client) id")
	case !isName(a.SecretName) || !isName(a.SecretNamespace):
		return fmt.Errorf("clientPassword names no Secret (%q in namespace %q): write {name: SECRET}", a.SecretName, a.SecretNamespace)
	case a.SecretNamespace != id.Namespace && (id.Namespaced || !r.AcrossNamespaces):
		return fmt.Errorf("clientPassword names a Secret of namespace %s: it must be in that of the identity", a.SecretNamespace)
	default:
		return nil
	}
}

func checkTenants(a Application) error {
	if !isTenant(a.TenantID) {
		return fmt.Errorf("tenantID %q is no tenant: write its GUID or a domain name of it", a.TenantID)
	}
	if len(a.AuxiliaryTenantIDs) > MaxAuxiliaryTenants {
		return fmt.Errorf("%d auxiliaryTenantIDs are too many: write at most %d", len(a.AuxiliaryTenantIDs), MaxAuxiliaryTenants)
	}
	for _, t := range a.AuxiliaryTenantIDs {
		if !isTenant(t) {
			return fmt.Errorf("auxiliary tenant %q is no tenant: write its GUID or a domain name of it", t)
		}
	}
	return nil
}

// Authority makes https://host of what spec.adEndpoint says.
func (r Rules) Authority(endpoint string) (string, error) {
	if endpoint == "" {
		host := r.DefaultAuthority
		if host == "" {
			host = defaultAuthority
		}
		return "https://" + strings.ToLower(host), nil
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", fmt.Errorf("adEndpoint %q is no URL: write https://%s", endpoint, defaultAuthority)
	}
	rebuilt := url.URL{Scheme: "https", Host: u.Host, Path: u.Path}
	if u.Host == "" || !strings.EqualFold(rebuilt.String(), endpoint) || (u.Path != "" && u.Path != "/") {
		return "", fmt.Errorf("adEndpoint %q must be https and a host, and nothing else: write https://%s", endpoint, defaultAuthority)
	}
	host := strings.TrimSuffix(strings.ToLower(u.Host), ":443")
	allowed := func(h string) bool { return strings.EqualFold(strings.TrimSuffix(h, ":443"), host) }
	if !KnownAuthority(host) && !slices.ContainsFunc(r.AuthorityHosts, allowed) && (r.DefaultAuthority == "" || !allowed(r.DefaultAuthority)) {
		return "", fmt.Errorf("adEndpoint %q is no known host of Entra: the operator can allow it with --authority-hosts", endpoint)
	}
	return "https://" + host, nil
}

var (
	guid   = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	domain = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$`)
	name   = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)
)

// longestName is how long a domain name, or a name of Kubernetes, can be.
const longestName = 253

// isTenant reports whether t, in lower case, is the GUID or a domain name of a
// tenant. Words like "common" are none: a token for them would be of any tenant.
func isTenant(t string) bool {
	return len(t) <= longestName && (guid.MatchString(t) || domain.MatchString(t))
}

// isName reports whether n can be the name of an object, and no path.
func isName(n string) bool { return len(n) <= longestName && name.MatchString(n) }
