package nmi

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/podid-io/podid/internal/imds"
	"github.com/podid-io/podid/internal/nodeview"
	"github.com/podid-io/podid/internal/token"
)

// metadataTimeout bounds one request that is passed on.
const metadataTimeout = 10 * time.Second

// metadata passes a request on to the real metadata service, where the family
// is one that pods may read: rebuilt from what was understood of it.
func (s *Server) metadata(w http.ResponseWriter, r *http.Request) {
	answer, err := s.passOn(r)
	s.slowDown(r.Context(), err)
	s.drains(w)
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
	c, _, err := s.known(r)
	if err != nil {
		return imds.Answer{}, err
	}
	var a imds.Answer
	err = s.upstream(r.Context(), c.holder, func(ctx context.Context) (err error) {
		s.config.Metrics.passed(req.Family)
		a, err = s.config.Upstream.Metadata(ctx, req.Path, req.Query)
		return err
	})
	if err != nil {
		return imds.Answer{}, err
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

// upstream has the metadata service of the node asked for a pod, which has a few
// such calls under way at most.
func (s *Server) upstream(ctx context.Context, who holder, call func(context.Context) error) error {
	if !s.fair.beginPass(who) {
		return errTooMany
	}
	defer s.fair.endPass(who)
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	err := call(ctx)
	if busy, ok := errors.AsType[*token.Error](err); ok && busy.Kind == token.Busy {
		return &imds.Error{Kind: imds.Overloaded, Description: "too many requests wait for the metadata service; try again", RetryAfter: busy.RetryAfter, Err: err}
	}
	if err != nil {
		return &imds.Error{Kind: imds.Unavailable, Description: "the metadata service of the node does not answer", Err: err}
	}
	return nil
}

// known is the pod that a request comes from. It does not wait for one.
func (s *Server) known(r *http.Request) (*caller, nodeview.Found, error) {
	c, a := s.admit(r, time.Now())
	if a.err == nil {
		a = s.who(c)
	}
	if a.err != nil {
		return nil, nodeview.Found{}, a.err
	}
	found, _, err := s.config.Pods.ByIP(c.origin.Source, c.origin.Interface)
	if err != nil {
		return nil, nodeview.Found{}, imds.Errorf(imds.NotReady, "%s: %v; try again", c.origin.Source, err)
	}
	if !c.pin(found.Pod.UID) {
		return nil, nodeview.Found{}, imds.Errorf(imds.NotReady, "the address %s belongs to another pod now: connect again", c.origin.Source)
	}
	return c, found, nil
}
