package nmi

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/imds"
	"github.com/podid-io/podid/internal/nodeview"
)

// root is the only user who may ask for a pod's token: the Key Vault CSI
// provider runs as it.
const root = 0

// ServeHost answers /host/token on a loopback listener until ctx ends: the Key
// Vault CSI provider asks there on behalf of a pod whose volume it mounts.
//
// It answers root alone, over the loopback interface, and only for a pod of
// this node that mounts a volume of the Secrets Store CSI driver.
func (s *Server) ServeHost(ctx context.Context, l net.Listener) error {
	if s.config.Host == nil {
		return errors.New("nmi.Config.Host is missing")
	}
	server := s.server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if imds.Classify(r) == imds.HostToken {
			s.hostToken(w, r)
			return
		}
		imds.WriteError(w, errNotFound)
	}))
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, hostCallerKey{}, c)
	}
	return serve(ctx, server, l, 5*time.Second)
}

type hostCallerKey struct{}

// hostToken answers a request on behalf of a pod.
func (s *Server) hostToken(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	a := answer{outcome: denied, reason: reasonOrigin, onHost: true}
	var req imds.HostTokenRequest
	if a.err = s.fromRoot(r); a.err == nil {
		if req, a.err = imds.ParseHostToken(r); a.err != nil {
			a.outcome = badRequest
		} else {
			a = s.hold(r.Context(), req.TokenRequest, start, func(ctx context.Context, q query) answer { return s.lookByName(ctx, &req, q) })
		}
	}
	a.onHost = true
	s.conclude(r.Context(), req.TokenRequest, &a, start)
	end := time.Now()
	if a.err != nil {
		imds.WriteError(w, a.err)
	} else {
		imds.WriteHostToken(w, a.response(req.TokenRequest, end))
	}
	s.config.Metrics.observe(onHost, &a, end.Sub(start))
}

// fromRoot refuses whoever is not root of this very node.
func (s *Server) fromRoot(r *http.Request) error {
	c, ok := r.Context().Value(hostCallerKey{}).(net.Conn)
	if !ok {
		return imds.Errorf(imds.Internal, "the request came without a connection")
	}
	if local, err := s.config.Host.OfLoopback(c); err != nil || !local {
		return &imds.Error{Kind: imds.Forbidden, Description: "ask from a process of the node, over the loopback interface", Err: err}
	}
	uid, err := s.config.Host.PeerUID(c)
	if err != nil || uid != root {
		return &imds.Error{Kind: imds.Forbidden, Description: "only root of the node may ask on behalf of a pod", Err: err}
	}
	return nil
}

// lookByName goes once all the way for a pod that is named and not calling.
func (s *Server) lookByName(ctx context.Context, req *imds.HostTokenRequest, q query) answer {
	found, changed, err := s.config.Pods.ByName(req.Namespace, req.Pod)
	switch {
	case errors.Is(err, nodeview.ErrNotSynced), errors.Is(err, nodeview.ErrUnknown): // the watch may be late
		return answer{
			holder: holder{uid: req.Namespace + "/" + req.Pod}, pod: identity.Pod{Namespace: req.Namespace, Name: req.Pod},
			outcome: notReady, reason: reasonUnknownPod, again: true, changed: changed,
			err: imds.Errorf(imds.NotReady, "pod %s/%s: %v; try again", req.Namespace, req.Pod, err),
		}
	case err != nil:
		return answer{outcome: failed, err: err}
	case !found.SecretsStore:
		return answer{
			pod: found.Pod, outcome: denied, reason: reasonNoVolume,
			err: imds.Errorf(imds.Denied, "pod %s/%s mounts no volume of secrets-store.csi.k8s.io", req.Namespace, req.Pod),
		}
	}
	found.Exception = nil // it is for what the pod asks itself
	a := s.decide(ctx, &found, q, changed)
	a.holder = holder{uid: found.Pod.UID}
	return a
}
