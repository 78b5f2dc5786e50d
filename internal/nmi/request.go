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

// Keys of the Secrets that AAD Pod Identity documents.
const (
	keyClientSecret = "clientSecret"
	keyCertificate  = "certificate"
	keyPassword     = "password"
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
	case v1.ServicePrincipal, v1.ServicePrincipalCertificate:
		if s.config.Secrets == nil || s.config.Application == nil || id.ClientID == "" {
			return r, nil, errNotServed
		}
	default:
		return r, nil, errNotServed
	}
	app := &id.Application
	if r.Authority, err = s.config.Application(id); err != nil {
		return r, nil, err
	}
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
	if r.Credential, err = credential(id.Type, secret); err != nil {
		return r, nil, fmt.Errorf("secret %s/%s %w", app.SecretNamespace, app.SecretName, err)
	}
	return r, nil, nil
}

// credential finds the credential in a Secret: by its documented key, or the
// only key there is. Which of several others was meant is not ours to guess.
func credential(kind v1.IdentityType, secret map[string][]byte) (*token.Credential, error) {
	if kind == v1.ServicePrincipalCertificate {
		certificate := secret[keyCertificate]
		if len(certificate) == 0 {
			return nil, fmt.Errorf("has no key %q: put the certificate there, as PKCS#12 or as PEM with its private key", keyCertificate)
		}
		return token.NewCredential("", string(certificate), string(secret[keyPassword])), nil
	}
	value, ok := secret[keyClientSecret]
	for _, only := range secret {
		if !ok && len(secret) == 1 {
			value = only
		}
	}
	if len(value) == 0 {
		return nil, fmt.Errorf("has no key %q, or it is empty: put the client secret there, and nothing else or under other names", keyClientSecret)
	}
	return token.NewCredential(string(value), "", ""), nil
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
