package nmi

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/imds"
	"github.com/podid-io/podid/internal/nodeview"
)

// metadataTimeout bounds one request that is passed on.
const metadataTimeout = 10 * time.Second

// metadata passes a request on to the real metadata service, where the family
// is one that pods may read: rebuilt from what was understood of it.
func (s *Server) metadata(w http.ResponseWriter, r *http.Request) {
	answer, err := s.passOn(r)
	if err != nil {
		imds.WriteError(w, err)
		return
	}
	imds.WriteAnswer(w, answer)
}

func (s *Server) passOn(r *http.Request) (imds.Answer, error) {
	req, err := imds.ParseMetadata(r)
	if err != nil {
		return imds.Answer{}, err
	}
	if !slices.Contains(s.config.PassThrough, req.Family) {
		return imds.Answer{}, imds.Errorf(imds.Forbidden, "pods may not read %s of the metadata service (--pass-through)", req.Family)
	}
	if _, err := s.known(r); err != nil {
		return imds.Answer{}, err
	}
	s.config.Metrics.passed(req.Family)
	ctx, cancel := context.WithTimeout(r.Context(), metadataTimeout)
	defer cancel()
	a, err := s.config.Upstream.Metadata(ctx, req.Path, req.Query)
	if err != nil {
		return imds.Answer{}, &imds.Error{Kind: imds.Unavailable, Description: "the metadata service of the node does not answer", Err: err}
	}
	if req.Family == imds.Instance && a.Status == http.StatusOK && !slices.Contains(s.config.PassThrough, imds.UserData) {
		if strings.EqualFold(req.Query.Get("format"), "text") {
			return a, nil // one value, or a list of names: its path is not that of user data
		}
		var ok bool
		if a.Body, ok = imds.HideUserData(a.Body); !ok {
			return imds.Answer{}, imds.Errorf(imds.Unavailable, "the answer of the metadata service cannot be understood")
		}
	}
	return a, nil
}

// known is the pod that a request comes from. It does not wait for one.
func (s *Server) known(r *http.Request) (nodeview.Found, error) {
	c, a := s.admit(r)
	if a.err == nil {
		a = s.who(c)
	}
	if a.err != nil {
		return nodeview.Found{}, a.err
	}
	found, _, err := s.config.Pods.ByIP(c.origin.Source, c.origin.Interface)
	if err != nil {
		return nodeview.Found{}, imds.Errorf(imds.NotReady, "%s: %v; try again", c.origin.Source, err)
	}
	if !c.pin(found.Pod.UID) {
		return nodeview.Found{}, imds.Errorf(imds.NotReady, "the address %s belongs to another pod now: connect again", c.origin.Source)
	}
	return found, nil
}

// info answers which tenant the identity of the pod is of.
func (s *Server) info(w http.ResponseWriter, r *http.Request) {
	tenant, err := s.tenant(r)
	if err != nil {
		imds.WriteError(w, err)
		return
	}
	imds.WriteInfo(w, tenant)
}

func (s *Server) tenant(r *http.Request) (string, error) {
	if _, err := imds.ParseMetadata(r); err != nil {
		return "", err
	}
	found, err := s.known(r)
	if err != nil {
		return "", err
	}
	if found.Exception == nil {
		d := identity.Select(found.Pod, found.Grants, identity.Selector{}, time.Now())
		if d.Outcome != identity.Selected {
			return "", refuse(found.Pod, d).err
		}
		if d.Grant.Identity.Type != v1.UserAssignedMSI {
			return d.Grant.Identity.Application.TenantID, nil
		}
	}
	if s.config.Upstream == nil {
		return "", errNotFound
	}
	ctx, cancel := context.WithTimeout(r.Context(), metadataTimeout)
	defer cancel()
	tenant, err := s.config.Upstream.Tenant(ctx)
	if err != nil {
		return "", &imds.Error{Kind: imds.Unavailable, Description: "the metadata service of the node does not answer", Err: err}
	}
	return tenant, nil
}
