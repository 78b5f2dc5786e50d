package nmi

import (
	"context"
	"net/http"
	"regexp"
	"time"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/imds"
	"github.com/podid-io/podid/internal/token"
)

// guid is a tenant by its id, in lower case, and not by one of its names.
var guid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// info answers which tenant the identity of the pod is of.
func (s *Server) info(w http.ResponseWriter, r *http.Request) {
	tenant, err := s.tenant(r)
	s.slowDown(r.Context(), err)
	s.drains(w)
	if err != nil {
		imds.WriteError(w, err)
		return
	}
	imds.WriteInfo(w, tenant)
}

func (s *Server) tenant(r *http.Request) (tenant string, err error) {
	if _, err := imds.ParseMetadata(r); err != nil {
		return "", err
	}
	c, found, err := s.known(r)
	if err != nil {
		return "", err
	}
	if found.Exception == nil {
		d := identity.Select(found.Pod, found.Grants, identity.Selector{}, time.Now())
		if d.Outcome != identity.Selected {
			return "", refuse(found.Pod, d.Because(found.Barred, identity.Selector{})).err
		}
		if d.Grant.Identity.Type != v1.UserAssignedMSI {
			return s.tenantOf(found.Pod, d.Grant)
		}
		if _, wake, err := s.request(d.Grant.Identity, query{}); err != nil {
			return "", s.unusable(found.Pod, d.Grant, err, wake, nil).err
		}
	}
	if s.config.Upstream == nil {
		return "", errNotFound
	}
	err = s.upstream(r.Context(), c.holder, func(ctx context.Context) (err error) {
		tenant, err = s.config.Upstream.Tenant(ctx)
		return err
	})
	return tenant, err
}

// tenantOf is the tenant of an application: as its AzureIdentity says it, or, where
// that says a domain name, as one of its tokens does.
func (s *Server) tenantOf(pod identity.Pod, g identity.Grant) (string, error) {
	id := g.Identity
	if _, err := s.authority(id); err != nil {
		return "", s.unusable(pod, g, err, nil, nil).err
	}
	if guid.MatchString(id.Application.TenantID) {
		return id.Application.TenantID, nil
	}
	for _, resource := range s.history.of(id, time.Now()) {
		req, wake, err := s.request(id, query{TokenRequest: imds.TokenRequest{Resource: resource}})
		if err != nil {
			return "", s.unusable(pod, g, err, wake, nil).err
		}
		if t, _, ok := s.config.Tokens.Cached(&req, token.Ask{Owner: pod.UID}); ok && t.TenantID != "" {
			return t.TenantID, nil
		}
	}
	return "", imds.Errorf(imds.NotReady, "AzureIdentity %s/%s names its tenant %s, whose id is not known until there is a token: ask for one",
		id.Namespace, id.Name, id.Application.TenantID)
}
