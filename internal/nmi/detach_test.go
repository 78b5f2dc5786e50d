package nmi

import (
	"context"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/imds"
	"github.com/podid-io/podid/internal/nodeview"
	"github.com/podid-io/podid/internal/token"
)

// A pod could fill the agent's memory with long requests for short resources.
func TestNoPartOfARequestIsKeptInMemory(t *testing.T) {
	line := "GET /?resource=https://vault.azure.net&junk=" + strings.Repeat("x", 16<<10)
	resource := line[15:38]
	within := func(s string) bool {
		at, from := uintptr(unsafe.Pointer(unsafe.StringData(s))), uintptr(unsafe.Pointer(unsafe.StringData(line)))
		return at >= from && at < from+uintptr(len(line))
	}
	if resource != "https://vault.azure.net" || !within(resource) {
		t.Fatalf("the test cuts %q out", resource)
	}
	var got token.Request
	server := Server{config: Config{Tokens: tokensFunc(func(r *token.Request) { got = *r })}}
	q := query{wait: true, TokenRequest: imds.TokenRequest{
		Resource: resource, Capabilities: resource, TenantID: resource,
		Selector: imds.Selector{ClientID: resource, ObjectID: resource, ResourceID: resource},
	}}
	server.excepted(t.Context(), &nodeview.Found{Exception: &identity.Exception{}}, q, nil)
	for _, s := range []string{got.Resource, got.ClientID, got.ObjectID, got.ResourceID, got.Capabilities} {
		if s != resource || within(s) {
			t.Errorf("%q is a part of the line still, or is not what was asked for", s)
		}
	}
	// The ids of an AzureIdentity are its own; the rest is not.
	server.get(t.Context(), identity.Pod{}, identity.Identity{}, &token.Request{Resource: resource, Capabilities: resource, TenantID: resource}, q, nil)
	for _, s := range []string{got.Resource, got.Capabilities, got.TenantID} {
		if s != resource || within(s) {
			t.Errorf("%q is a part of the line still, or is not what was asked for", s)
		}
	}
	h := newHistory()
	id := identity.Identity{Namespace: "team", Name: "blue"}
	h.asked(id, resource, time.Now())
	if got := h.of(id, time.Now()); len(got) != 1 || within(got[0]) {
		t.Errorf("%q are remembered, one of them within the line", got)
	}
}

// tokensFunc sees what is asked for, and has nothing.
type tokensFunc func(*token.Request)

func (f tokensFunc) Get(_ context.Context, r *token.Request, _ token.Ask) (token.Token, token.How, error) {
	f(r)
	return token.Token{}, token.Miss, nil
}

func (tokensFunc) Cached(*token.Request, token.Ask) (token.Token, token.How, bool) {
	return token.Token{}, "", false
}

func (tokensFunc) Prefetch(context.Context, *token.Request) error { return nil }
