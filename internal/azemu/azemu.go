// Package azemu emulates the Azure endpoints that podid touches: Azure Resource
// Manager for virtual machines, scale sets and user-assigned identities, Entra
// ID, and the instance metadata service of each machine. It has a state model of
// its own and behaves as the real services do where podid's users can tell:
// identities reach a machine when a long-running operation ends, one write at a
// time, ETags, error codes and texts, tokens that stay the same until renewed.
// The official SDKs, unmodified, are its referee.
//
// It is for tests, demos and CI: what it guards is worth nothing.
package azemu

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// DefaultTenant is the tenant of an emulator that was given none.
const DefaultTenant = "7a3b1c52-6d1f-4e0a-9a57-2f4c8d9e0b11"

// Config says how an emulator behaves. The zero value is usable.
type Config struct {
	// ARMDelay is how long an identity PATCH takes to reach the machines.
	// The default 0 means that it is done before the PATCH is answered.
	ARMDelay time.Duration
	// RetryAfter is what pollers of an operation are told to wait, rounded up to
	// whole seconds. The default is 1s.
	RetryAfter time.Duration
	// TokenLifetime is the lifetime of managed identities' tokens. The default is 24h.
	TokenLifetime time.Duration
	// TokenRenewal is the age from which IMDS hands out a new token instead of
	// the one that it has. The default is half of TokenLifetime.
	TokenRenewal time.Duration
	// AppTokenLifetime is the lifetime of apps' tokens. The default is 1h.
	AppTokenLifetime time.Duration
	// IMDSLimits makes IMDS refuse with 429 more than 20 requests of one machine
	// about identity in any second, or 5 at once, and more than 5 in any second
	// for everything else. The default is no limit.
	IMDSLimits bool
	// ARMLimits makes Resource Manager refuse with 429 what is above the limits
	// that Azure documents, for each resource and each subscription. The default
	// is to tell in headers only what is left.
	ARMLimits bool
	// EnforceRoles makes Resource Manager refuse, with AuthorizationFailed and
	// LinkedAuthorizationFailed, what the roles of the caller do not allow. The
	// default lets everybody with a token do everything.
	EnforceRoles bool
	// Tenant is the id of the main tenant. The default is the seed's, else DefaultTenant.
	Tenant string
	// Hosts are IP addresses and DNS names of the server certificate, beside
	// localhost, 127.0.0.1 and ::1.
	Hosts []string
	// Issuers reaches the issuers of federated credentials. The default is
	// a client that trusts what the system trusts.
	Issuers *http.Client
	// Log receives a line for each request that is not understood, and at debug
	// level for every request. The default discards.
	Log *slog.Logger
	// Seed is the state to begin with.
	Seed State
}

// Emulator is one emulated cloud. Its methods may be called concurrently.
type Emulator struct {
	config  Config
	log     *slog.Logger
	keys    *keys
	pki     *pki
	traffic *traffic
	faults  *faults
	tokens  *tokenCache
	closed  chan struct{} // closed by Close
	// armLimits counts what Resource Manager was asked.
	armLimits *armLimits
	close     sync.Once

	mu    sync.Mutex // guards cloud and all that hangs on it
	cloud *cloud
}

// New makes an emulator. It fails when the seed makes no sense or a host can
// stand in no certificate.
func New(c Config) (*Emulator, error) {
	c = withDefaults(c)
	state := newCloud(c.Tenant)
	if err := state.apply(c.Seed); err != nil {
		return nil, fmt.Errorf("seed: %w", err)
	}
	k, err := newKeys()
	if err != nil {
		return nil, err
	}
	p, err := newPKI(c.Hosts)
	if err != nil {
		return nil, err
	}
	return &Emulator{
		config: c, log: c.Log, keys: k, pki: p, cloud: state,
		traffic: newTraffic(), faults: newFaults(), tokens: newTokenCache(), closed: make(chan struct{}),
		armLimits: newARMLimits(),
	}, nil
}

func withDefaults(c Config) Config {
	if c.RetryAfter <= 0 {
		c.RetryAfter = time.Second
	}
	if c.TokenLifetime <= 0 {
		c.TokenLifetime = 24 * time.Hour
	}
	if c.TokenRenewal <= 0 {
		c.TokenRenewal = c.TokenLifetime / 2
	}
	if c.AppTokenLifetime <= 0 {
		c.AppTokenLifetime = time.Hour
	}
	c.Tenant = cmp.Or(c.Tenant, c.Seed.Tenant, DefaultTenant)
	c.Seed.Tenant = c.Tenant
	if c.Issuers == nil {
		c.Issuers = &http.Client{Timeout: federation}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Close ends the operations in flight, as canceled, and lets go of the requests
// that a fault holds.
func (e *Emulator) Close() {
	e.close.Do(func() {
		close(e.closed)
		e.mu.Lock()
		defer e.mu.Unlock()
		e.cloud.cancelOperations(time.Now())
	})
}

// TLS is the configuration of a server for Azure: a certificate signed by CA.
func (e *Emulator) TLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{e.pki.server}}
}

// CA is the certificate, in PEM, of the authority that signed the server's.
func (e *Emulator) CA() []byte { return e.pki.ca }

// Azure serves Resource Manager and Entra ID, told apart by path. Serve it with
// TLS: clients send their secrets to nothing less.
func (e *Emulator) Azure() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if endpoint, h := e.entraRoute(r); h != nil {
			e.observe(w, r, endpoint, "", e.faulty(endpoint, h))
			return
		}
		endpoint, h := e.armRoute(r)
		e.observe(w, r, endpoint, "", e.faulty(endpoint, h))
	})
}

// State returns the state as it is now, apps' secrets left out.
func (e *Emulator) State() State {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.cloud.state()
}

// SetState replaces the whole state. Operations in flight are canceled, tokens
// forgotten. It changes nothing when s makes no sense.
func (e *Emulator) SetState(s State) error {
	next := newCloud(e.config.Tenant)
	if err := next.apply(s); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cloud.cancelOperations(time.Now())
	e.cloud = next
	e.tokens.forget()
	return nil
}

// MergeState adds to the state what is new in s and replaces what has the same
// id. A VM or scale set without identity keeps the one it has, and a scale set
// keeps the instances that s does not name. It changes nothing when s makes no
// sense.
func (e *Emulator) MergeState(s State) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := e.cloud.clone()
	if err := next.apply(s); err != nil {
		return err
	}
	e.cloud = next
	return nil
}
