package nmi

import (
	"errors"
	"fmt"
	"slices"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/imds"
	"github.com/podid-io/podid/internal/token"
)

var (
	errNotServed = errors.New("not served")
	errTenant    = errors.New("tenant_id is neither the tenant of the application nor one of its auxiliary tenants")
)

// request is what the token of an identity is asked for by. When it fails, wake
// closes when it may succeed; nil when it cannot by itself.
func (s *Server) request(id identity.Identity, q query) (r token.Request, wake <-chan struct{}, err error) {
	r = token.Request{
		Type: id.Type, ClientID: id.ClientID, Resource: q.Resource, Capabilities: q.Capabilities,
	}
	switch id.Type {
	case v1.UserAssignedMSI:
		r.ResourceID, r.ObjectID = id.ResourceID, id.ObjectID
		if r.ClientID == "" && r.ResourceID == "" {
			return r, nil, errNotServed
		}
		return r, nil, nil
	default:
		if r.Authority, err = s.authority(id); err != nil {
			return r, nil, err
		}
	}
	app := &id.Application
	r.TenantID = app.TenantID
	if q.TenantID != "" {
		if r.TenantID = q.TenantID; q.TenantID != app.TenantID && !slices.Contains(app.AuxiliaryTenantIDs, q.TenantID) {
			return r, nil, errTenant
		}
	}
	secret, wake, err := s.config.Secrets.Get(app.SecretNamespace, app.SecretName)
	if err != nil {
		return r, wake, fmt.Errorf("secret %s/%s: %w", app.SecretNamespace, app.SecretName, err)
	}
	if r.Credential, err = s.credentials.of(secretOf{id.Type, app.SecretNamespace, app.SecretName}, secret); err != nil {
		return r, nil, fmt.Errorf("secret %s/%s %w", app.SecretNamespace, app.SecretName, err)
	}
	return r, nil, nil
}

// authority is where an application signs in. It fails for what is none.
func (s *Server) authority(id identity.Identity) (string, error) {
	served := s.config.Secrets != nil && s.config.Application != nil && id.ClientID != ""
	if served && (id.Type == v1.ServicePrincipal || id.Type == v1.ServicePrincipalCertificate) {
		return s.config.Application(id)
	}
	return "", errNotServed
}

// unusable is the answer where an identity cannot be asked for as it is defined.
func (s *Server) unusable(pod identity.Pod, g identity.Grant, err error, wake, changed <-chan struct{}) answer {
	a := answer{pod: pod, identity: g.Identity, outcome: denied, reason: reasonDefinition}
	switch {
	case errors.Is(err, errNotServed):
		return refuse(pod, identity.Decision{Outcome: identity.Denied, Reason: identity.NotSupported, Grant: g})
	case wake == nil:
		a.err = imds.Errorf(imds.Denied, "AzureIdentity %s/%s: %v", g.Identity.Namespace, g.Identity.Name, err)
	default: // a Secret that is on its way, or that may come
		a.outcome, a.again, a.changed, a.wake = notReady, true, changed, wake
		a.err = imds.Errorf(imds.NotReady, "AzureIdentity %s/%s: %v", g.Identity.Namespace, g.Identity.Name, err)
	}
	return a
}
