package azemu

import (
	"fmt"
	"slices"
	"strings"
)

func (c *cloud) applyApp(a App) error {
	if a.ClientID == "" {
		return fmt.Errorf("an app has no clientId")
	}
	if a.ObjectID == "" {
		a.ObjectID = guid("app", a.ClientID)
	}
	if _, err := a.certificates(); err != nil {
		return fmt.Errorf("app %s: %w", a.ClientID, err)
	}
	a.Secrets, a.Certificates, a.Tenants = slices.Clone(a.Secrets), slices.Clone(a.Certificates), slices.Clone(a.Tenants)
	a.FederatedCredentials = slices.Clone(a.FederatedCredentials)
	c.apps[strings.ToLower(a.ClientID)] = a
	return nil
}

// clientOf finds the app, or the identity as an app, with a client id.
func (c *cloud) clientOf(id string) (App, bool) {
	if a, ok := c.apps[strings.ToLower(id)]; ok {
		return a, true
	}
	for _, i := range c.identities {
		if strings.EqualFold(i.ClientID, id) {
			return App{ClientID: i.ClientID, ObjectID: i.PrincipalID, FederatedCredentials: i.FederatedCredentials}, true
		}
	}
	return App{}, false
}

// knownTenant finds a tenant by its id, without regard to case.
func (c *cloud) knownTenant(id string) (string, bool) {
	if strings.EqualFold(id, c.tenant) {
		return c.tenant, true
	}
	if t, ok := c.tenants[strings.ToLower(id)]; ok {
		return t, true
	}
	for _, a := range c.apps {
		for _, t := range a.Tenants {
			if strings.EqualFold(t, id) {
				return t, true
			}
		}
	}
	return "", false
}

// isIn reports whether an app is in a tenant.
func (c *cloud) isIn(a App, tenant string) bool {
	if len(a.Tenants) == 0 {
		return strings.EqualFold(tenant, c.tenant)
	}
	return slices.ContainsFunc(a.Tenants, func(t string) bool { return strings.EqualFold(t, tenant) })
}
