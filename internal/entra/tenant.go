package entra

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/podid-io/podid/internal/imds"
	"github.com/podid-io/podid/internal/token"
)

const (
	// tenantTTL is how long the tenant is remembered. It hardly ever changes.
	tenantTTL = time.Hour
	// tenantFailureTTL is how long a failure answers instead of IMDS, so that a
	// crowd of callers costs one call.
	tenantFailureTTL = 5 * time.Second
)

// tenantPath is the one page about identity that is no token's business.
const tenantPath = "/metadata/identity/info"

// tenant remembers the tenant of the VM. One call is under way at a time,
// whoever waits for it.
type tenant struct {
	fetch  func(context.Context) (string, error)
	flight singleflight.Group

	mu    sync.Mutex
	id    string    // guarded by mu
	err   error     // guarded by mu: what the last call failed with
	until time.Time // guarded by mu: when to ask again
}

func newTenant(fetch func(context.Context) (string, error)) *tenant { return &tenant{fetch: fetch} }

// get waits for the tenant as long as ctx allows.
func (t *tenant) get(ctx context.Context) (string, error) {
	if id, fresh, err := t.remembered(time.Now()); fresh {
		return id, err
	}
	// Apart from the caller's context: others wait for this too. The timeout of
	// requests for metadata ends it.
	done := t.flight.DoChan("", func() (any, error) { return nil, t.refresh(context.WithoutCancel(ctx)) })
	select {
	case <-done:
		id, _, err := t.remembered(time.Now())
		return id, err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// remembered is the last answer, and whether it is fresh. While IMDS does not
// answer it is the tenant of old, if there is one.
func (t *tenant) remembered(now time.Time) (id string, fresh bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.id == "" {
		err = t.err
	}
	return t.id, now.Before(t.until), err
}

// refresh asks, and remembers the outcome.
func (t *tenant) refresh(ctx context.Context) error {
	if _, fresh, _ := t.remembered(time.Now()); fresh { // a call ended since the caller looked
		return nil
	}
	id, err := t.fetch(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err = err; err != nil {
		t.until = time.Now().Add(tenantFailureTTL)
		return err
	}
	t.id, t.until = id, time.Now().Add(tenantTTL)
	return nil
}

// Tenant is the tenant of the VM's subscription, as IMDS tells it. It is
// remembered for an hour, a failure for 5 s. Callers share one call, which does
// not count among the requests for metadata that can be too many, and has its turn
// within seconds while all of those hang.
func (s *IMDS) Tenant(ctx context.Context) (string, error) { return s.tenant.get(ctx) }

func (s *IMDS) fetchTenant(ctx context.Context) (string, error) {
	answer, err := s.page(ctx, s.turns.take, tenantPath, url.Values{"api-version": {imds.APIVersion}})
	if err != nil {
		return "", err
	}
	var info struct {
		TenantID string `json:"tenantId"`
	}
	if err := json.Unmarshal(answer.Body, &info); err != nil || answer.Status != http.StatusOK || info.TenantID == "" {
		return "", &token.Error{Kind: token.Unavailable, Err: fmt.Errorf("IMDS answered %d without a tenant", answer.Status)}
	}
	return info.TenantID, nil
}
