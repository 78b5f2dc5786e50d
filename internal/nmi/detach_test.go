package nmi

import (
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/podid-io/podid/internal/identity"
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
	req := token.Request{Resource: resource, ClientID: resource, ObjectID: resource, ResourceID: resource, Capabilities: resource, TenantID: resource}
	detach(&req)
	for _, s := range []string{req.Resource, req.ClientID, req.ObjectID, req.ResourceID, req.Capabilities, req.TenantID} {
		if s != resource || within(s) {
			t.Errorf("%q is a part of the line still", s)
		}
	}
	h := newHistory()
	id := identity.Identity{Namespace: "team", Name: "blue"}
	h.asked(id, resource, time.Now())
	if got := h.of(id, time.Now()); len(got) != 1 || within(got[0]) {
		t.Errorf("%q are remembered, one of them within the line", got)
	}
}
