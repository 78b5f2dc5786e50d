package nmi

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/podid-io/podid/internal/explain"
	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/imds"
	"github.com/podid-io/podid/internal/nodeview"
)

// ExplainPath is where a Server explains itself; see Explain.
const ExplainPath = "/explain"

// explainPatience is how long an explanation may take: it waits for a Secret that
// has not been read yet, and for the source of a token.
const explainPatience = 20 * time.Second

// ExplainConfig is what an explanation has from outside of the server. All is
// required but Survey.
type ExplainConfig struct {
	// Node and Version are of the agent.
	Node, Version string
	// Managed and Rules are what its view of the node decides by.
	Managed bool
	Rules   identity.Rules
	// Ready is the agent's readiness, with a line for each check.
	Ready func() (bool, []string)
	// Places tells of a pod's addresses; *nodeview.View does.
	Places func(namespace, pod string) []nodeview.Place
	// Survey tells why the network gives addresses no link of their own.
	Survey func([]netip.Addr) error
}

// Explain answers GET requests with what this agent knows of a pod (parameters
// namespace and pod), and which answer the pod would get to its own request:
// parameters resource, client_id, object_id and msi_res_id are those of such a
// request. Without a resource no token is got; with one it is got by the way that
// the pod's would go, cache and source included, and its claims are told. The
// token is never told.
//
// It tells about identities, and so only whoever is root on the node or may exec
// into nmi's own pod is to reach it: it answers on a Unix socket alone, whose file
// is for its owner.
func (s *Server) Explain(c ExplainConfig) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if !ok || local.Network() != "unix" {
			http.Error(w, "explanations are given on a Unix socket alone: serve --health-listen on unix:PATH", http.StatusForbidden)
			return
		}
		v := r.URL.Query()
		namespace, pod := v.Get("namespace"), v.Get("pod")
		if r.Method != http.MethodGet || namespace == "" || pod == "" {
			http.Error(w, "ask by GET, with namespace and pod", http.StatusBadRequest)
			return
		}
		q := query{now: time.Now(), wait: v.Get("resource") != "", trial: true}
		q.Resource = v.Get("resource")
		q.Selector = imds.Selector{ClientID: v.Get("client_id"), ObjectID: v.Get("object_id"), ResourceID: v.Get("msi_res_id")}
		e := s.explainPod(r.Context(), c, namespace, pod, q)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(e) // whoever asked may have gone
	})
}

// explainPod says all there is to say of a pod.
func (s *Server) explainPod(ctx context.Context, c ExplainConfig, namespace, pod string, q query) *explain.Answer {
	ctx, cancel := context.WithTimeout(ctx, explainPatience)
	defer cancel()
	e := &explain.Answer{Version: c.Version, Node: c.Node, Managed: c.Managed, Rules: c.Rules}
	e.Ready, e.Checks = c.Ready()
	found, changed, err := s.config.Pods.ByName(namespace, pod)
	if err != nil {
		e.Unknown, e.Retry = err.Error(), true
		return e
	}
	e.PodUID = found.Pod.UID
	if found.Exception != nil {
		e.Exception = found.Exception.Namespace + "/" + found.Exception.Name
	}
	e.Addresses, e.Network = places(c, namespace, pod)
	if q.wait {
		s.config.Log.InfoContext(ctx, "a token is asked for to explain it", "pod", namespace+"/"+pod, "resource", q.Resource)
	}
	m := &s.config.Controller
	if q.Resource == "" && m.ServiceAccount == found.Pod.ServiceAccount && m.Namespace == found.Pod.Namespace && len(m.Resources) > 0 {
		q.Resource = m.Resources[0] // mic may ask for no other
	}
	s.awaitSecrets(ctx, &found)
	conclude(e, s.decide(ctx, &found, q, changed))
	return e
}

// awaitSecrets waits until the Secrets that the pod's identities name have been
// read, as a request of the pod's would be held.
func (s *Server) awaitSecrets(ctx context.Context, found *nodeview.Found) {
	ctx, cancel := context.WithTimeout(ctx, explainPatience/4)
	defer cancel()
	for i := range found.Grants {
		app := &found.Grants[i].Identity.Application
		if app.SecretName == "" || s.config.Secrets == nil {
			continue
		}
		if _, err := s.authority(found.Grants[i].Identity); err != nil {
			continue // it names what nmi would not read for it
		}
		if _, wake, err := s.config.Secrets.Get(app.SecretNamespace, app.SecretName); errors.Is(err, nodeview.ErrSecretNotRead) {
			select {
			case <-wake:
			case <-ctx.Done():
			}
		}
	}
}

// places are the addresses of a pod, and why the network does not keep it apart.
func places(c ExplainConfig, namespace, pod string) (list []explain.Address, network string) {
	var addrs []netip.Addr
	for _, p := range c.Places(namespace, pod) {
		addrs = append(addrs, p.Addr)
		a := explain.Address{Address: p.Addr.String(), Rivals: p.Rivals, Ambiguous: errors.Is(p.Err, nodeview.ErrAmbiguous)}
		if p.Err != nil {
			a.Trouble = p.Err.Error()
		}
		list = append(list, a)
	}
	if c.Survey != nil {
		if err := c.Survey(addrs); err != nil {
			network = err.Error()
		}
	}
	return list, network
}

// conclude puts an answer into words. Of a token it keeps the claims alone.
func conclude(e *explain.Answer, a answer) {
	if a.err != nil {
		a.settle(false)
	}
	e.Outcome, e.Reason = string(a.outcome), string(a.reason)
	if a.identity.Name != "" {
		e.Identity = a.identity.Namespace + "/" + a.identity.Name
	}
	switch {
	case a.fetch && a.err == nil: // there for the asking, and not asked for
		e.Outcome = explain.SelectedOutcome
	case a.err != nil:
		e.Status, e.Says, e.Retry = imds.Status(a.err), a.err.Error(), a.again || a.outcome == notReady
	default:
		e.Status = http.StatusOK
		e.Claims = explain.ClaimsOf(string(a.token.Value), a.token.ExpiresOn)
	}
}
