package nmi_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/imds"
	"github.com/podid-io/podid/internal/nmi"
)

func TestInfoOfApplications(t *testing.T) {
	const tid = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	of := func(kind v1.IdentityType, tenant string) identity.Grant {
		g := application(kind)
		g.Identity.Application.TenantID = tenant
		return g
	}
	tests := map[string]struct {
		grant      identity.Grant
		asked      bool // for a token before
		noSecret   bool
		wantStatus int
		wantBody   string
	}{
		"a tenant by its id":                 {grant: of(1, tid), noSecret: true, wantStatus: 200, wantBody: `{"tenantId":"` + tid + `"}`},
		"by a domain name, after a token":    {grant: of(1, "contoso.com"), asked: true, wantStatus: 200, wantBody: `{"tenantId":"` + tid + `"}`},
		"by a domain name, before any token": {grant: of(1, "contoso.com"), wantStatus: 404, wantBody: "ask for one"},
		"an authority that is not allowed":   {grant: evil(), wantStatus: 400, wantBody: "is not allowed"},
		"a type that is not served":          {grant: of(7, tid), wantStatus: 400, wantBody: "is not served"},
		"a managed identity without ids":     {grant: identity.Grant{Ready: true}, wantStatus: 400, wantBody: "is not served"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.found.Grants = []identity.Grant{tc.grant}
				w.token.TenantID = tid
				data := secretOf("clientSecret", "hush")
				if tc.noSecret {
					data = nil
				}
				c := serve(t, w, nmi.Controller{}, func(c *nmi.Config) {
					c.Upstream, c.Secrets, c.Application = &upstream{}, newSecrets(data), authority
				})
				if tc.asked {
					c.get(t, ask)
				}
				status, body := c.raw(t, "/metadata/identity/info?api-version=2018-02-01")
				if status != tc.wantStatus || !strings.Contains(string(body), tc.wantBody) {
					t.Errorf("answered %d %s, want %d and %s", status, body, tc.wantStatus, tc.wantBody)
				}
			})
		})
	}
}

// slowUpstream answers when it is told to.
type slowUpstream struct {
	upstream
	answer chan struct{}
}

func (u *slowUpstream) Tenant(ctx context.Context) (string, error) {
	select {
	case <-u.answer:
		return u.upstream.Tenant(ctx)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func TestMetadataOfOnePodIsAskedForAFewTimesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &slowUpstream{answer: make(chan struct{})}
		c := serve(t, newWorld(), nmi.Controller{}, func(c *nmi.Config) { c.Upstream, c.PassThrough = u, imds.Families() })
		var mu sync.Mutex
		got := map[int]int{}
		var flood sync.WaitGroup
		for range 10 {
			flood.Go(func() {
				status, _ := c.raw(t, "/metadata/identity/info")
				mu.Lock()
				defer mu.Unlock()
				got[status]++
			})
		}
		synctest.Wait()
		close(u.answer)
		flood.Wait()
		if got[http.StatusTooManyRequests] != 8 || got[http.StatusOK] != 2 {
			t.Errorf("the answers are %v, want 429 over two at once", got)
		}
	})
}
