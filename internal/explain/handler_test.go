package explain_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/podid-io/podid/internal/explain"
	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/nodeview"
	"github.com/podid-io/podid/internal/token"
)

const link = 7

var podAddr = netip.MustParseAddr("10.224.4.10")

// agent is nmi's own server over a view of the objects of a test, with everything
// that is behind it answering.
type agent struct {
	*nodeview.View

	pod     string // NAMESPACE/NAME of the one that calls
	host    bool   // it is on the node's network
	secrets map[string]bool
}

// ByIP finds the pod that calls: the view knows no links.
func (a *agent) ByIP(netip.Addr, int) (nodeview.Found, <-chan struct{}, error) {
	namespace, name := split(a.pod)
	if a.host {
		return nodeview.Found{}, make(chan struct{}), nodeview.ErrUnknown
	}
	return a.ByName(namespace, name)
}

func split(pod string) (namespace, name string) {
	namespace, name = filepath.Split(pod)
	return filepath.Clean(namespace), name
}

func (a *agent) Of(net.Conn) (nmi.Origin, error) {
	return nmi.Origin{Source: podAddr, Interface: link, RouteBack: link}, nil
}

func (a *agent) Get(namespace, name string) (map[string][]byte, <-chan struct{}, error) {
	if !a.secrets[namespace+"/"+name] {
		return nil, make(chan struct{}), nodeview.ErrNoSecret
	}
	return map[string][]byte{"clientSecret": []byte("s3cr3t"), "certificate": []byte("c3rt")}, nil, nil
}

// tokens is a source that has a token of everybody.
type tokens struct{}

func (tokens) token(r *token.Request) token.Token {
	return token.Token{Value: "h.e30.s", ExpiresOn: time.Now().Add(time.Hour), ClientID: r.ClientID}
}

func (t tokens) Cached(r *token.Request, _ token.Ask) (token.Token, token.How, bool) {
	return t.token(r), token.Hit, true
}

func (t tokens) Get(_ context.Context, r *token.Request, _ token.Ask) (token.Token, token.How, error) {
	return t.token(r), token.Hit, nil
}

func (tokens) Prefetch(context.Context, *token.Request) error { return nil }

// server is nmi's server for an agent.
func (a *agent) server(t fataler, rules identity.Rules) *nmi.Server {
	metrics := nmi.NewMetrics(prometheus.NewRegistry())
	audit, err := nmi.NewAudit(nmi.AuditSync, io.Discard, metrics)
	if err != nil {
		t.Fatal(err)
	}
	s, err := nmi.New(nmi.Config{
		Pods: a, Tokens: tokens{}, Origins: a, Secrets: a, Application: rules.Application,
		Audit: audit, Metrics: metrics, Log: slog.New(slog.DiscardHandler), Hold: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fataler is a test, or one of rapid's.
type fataler interface {
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// ask has the pod ask for a token, over a connection as pods make it, and returns
// the status and the body of the answer.
func ask(t fataler, s *nmi.Server, want identity.Selector) (int, string) {
	q := url.Values{"api-version": {"2018-02-01"}, "resource": {"https://vault.azure.net"}}
	if want.ClientID != "" {
		q.Set("client_id", want.ClientID)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }() // ends with ctx
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.Addr().String()+"/metadata/identity/oauth2/token?"+q.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Metadata", "true")
	tr := &http.Transport{DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// fine is an agent that says that everything is well, whatever it was asked.
func fine(f *explain.Facts) *explain.Answer {
	chosen, exception := choice(f)
	return &explain.Answer{
		Identity: chosen, Exception: exception,
		Version: "1", Node: f.Pod.Spec.NodeName, Managed: f.Agent.Managed, Rules: f.Agent.Rules,
		Ready: true, Checks: []string{"[+] redirect"}, PodUID: string(f.Pod.UID),
		Addresses: []explain.Address{{Address: podAddr.String()}},
		Outcome:   "hit", Status: http.StatusOK, Claims: &explain.Claims{Opaque: true},
	}
}

// choice is what nmi chooses by the same objects.
func choice(f *explain.Facts) (chosen, exception string) {
	objects := f.Objects
	objects.Pods = []corev1.Pod{f.Pod}
	found, _, err := nodeview.Snapshot(f.Agent.Rules, f.Agent.Managed, &objects).ByName(f.Pod.Namespace, f.Pod.Name)
	if err != nil {
		return "", ""
	}
	if e := found.Exception; e != nil {
		return "", e.Namespace + "/" + e.Name
	}
	d := identity.Select(found.Pod, found.Grants, f.Want, f.Now)
	if d.Outcome == identity.Denied {
		return "", ""
	}
	return d.Grant.Identity.Namespace + "/" + d.Grant.Identity.Name, ""
}

func asJSON(v any) string {
	b, _ := json.MarshalIndent(v, "", "  ")
	return string(b)
}
