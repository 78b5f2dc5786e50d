package azemu

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/podid-io/podid/internal/imds"
)

// imdsToken answers with a token of one of the machine's identities.
func (e *Emulator) imdsToken(w http.ResponseWriter, r *http.Request, m *machine) error {
	if err := admissible(r); err != nil {
		return err
	}
	req, err := imds.ParseToken(r)
	if err != nil {
		return err
	}
	p, err := e.identityOf(m, req.Selector)
	if err != nil {
		return err
	}
	now := time.Now()
	t, err := e.tokens.get(p, req.Resource, now, e.config.TokenRenewal, func() (issued, error) {
		return e.keys.issue(p, req.Resource, "https://sts.windows.net/"+p.tenant+"/", "1.0", e.config.TokenLifetime, now)
	})
	if err != nil {
		return err
	}
	answer := imds.NewTokenResponse(t.token, req.Resource, t.notBefore, t.expiry, now)
	answer.ClientID = p.clientID
	if req.Selector.ObjectID != "" {
		answer.ObjectID = p.objectID
	}
	if req.Selector.ResourceID != "" {
		answer.ResourceID = p.resourceID
	}
	imds.WriteToken(w, answer)
	return nil
}

// identityOf finds the identity that a token request means, among those that
// IMDS knows for the machine. Without a selector that is the system-assigned
// one, else the only user-assigned one:
// https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
func (e *Emulator) identityOf(m *machine, want imds.Selector) (principal, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, ok := e.cloud.scopes[m.on]
	if !ok {
		return principal{}, imds.Errorf(imds.Denied, "")
	}
	var known []principal
	if s.seen.system {
		known = append(known, s.system(e.cloud.tenant))
	}
	for key, id := range s.seen.user {
		if i, ok := e.cloud.identities[key]; ok && !s.orphans[key] {
			known = append(known, principal{clientID: i.ClientID, objectID: i.PrincipalID, tenant: e.cloud.tenant, resourceID: id})
		}
	}
	if want == (imds.Selector{}) {
		switch {
		case s.seen.system || len(known) == 1:
			return known[0], nil
		case len(known) > 1:
			return principal{}, imds.Errorf(imds.BadRequest,
				"Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request")
		}
	}
	for _, p := range known {
		if want != (imds.Selector{}) && p.is(want) {
			return p, nil
		}
	}
	return principal{}, imds.Errorf(imds.Denied, "")
}

// is reports whether the selector names p.
func (p principal) is(want imds.Selector) bool {
	return strings.EqualFold(p.clientID, want.ClientID) ||
		strings.EqualFold(p.objectID, want.ObjectID) ||
		strings.EqualFold(p.resourceID, want.ResourceID)
}

// system is the system-assigned identity of s.
func (s *scope) system(tenant string) principal {
	id := s.id.String()
	return principal{clientID: guid("client", id), objectID: guid("principal", id), tenant: tenant, resourceID: id}
}

// tokenCache keeps managed identities' tokens, as Azure does: the same token for
// the same identity and resource, until it is old enough to be renewed.
type tokenCache struct {
	mu     sync.Mutex // guards tokens
	tokens map[string]cachedToken
}

type cachedToken struct {
	issued
	at time.Time
}

func newTokenCache() *tokenCache { return &tokenCache{tokens: map[string]cachedToken{}} }

func (c *tokenCache) get(p principal, resource string, now time.Time, renewal time.Duration, issue func() (issued, error)) (issued, error) {
	key := fmt.Sprintf("%s %s %s", p.tenant, p.objectID, resource)
	c.mu.Lock()
	defer c.mu.Unlock()
	if t, ok := c.tokens[key]; ok && now.Sub(t.at) < renewal {
		return t.issued, nil
	}
	t, err := issue()
	if err != nil {
		return issued{}, err
	}
	c.tokens[key] = cachedToken{issued: t, at: now}
	return t, nil
}

func (c *tokenCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.tokens)
}
