package token

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"
)

// How says where an answer of the cache came from. The set is closed, since it
// labels metrics and audit lines.
type How string

// Where an answer came from.
const (
	Hit       How = "hit"       // from memory
	Stale     How = "stale"     // from memory, since the source just had nothing newer
	Miss      How = "miss"      // from the source
	Coalesced How = "coalesced" // from the source, by a call that another request had begun
)

const (
	// defaultTimeout bounds one call to the source.
	defaultTimeout = 30 * time.Second
	// defaultEntries bounds the cache.
	defaultEntries = 4096
	// patience is how long a caller waits for a newer token than one that is
	// valid still.
	patience = 5 * time.Second
)

// Ask is how a request for a token is to be treated. It does not affect which
// token is the answer.
type Ask struct {
	// Owner is who waits: the UID of the pod. Owners take turns.
	Owner string
	// Refused is the SHA-256, in hex, of a token that the client says is refused.
	// That token is not served again, unless the source keeps giving it.
	Refused string
}

// CacheConfig says how a Cache behaves.
type CacheConfig struct {
	// Source is asked for what the cache does not hold.
	Source Source
	// Timeout bounds one call to Source. The default is 30 s.
	Timeout time.Duration
	// MaxEntries bounds the tokens held. The default is 4096.
	MaxEntries int
}

// Cache is a Source over a Source. One call per request is under way at a time,
// whoever waits for it; it runs apart from its callers, so that one who gives up
// does not fail the others. Calls wait for their turn in a budget, which keeps
// the limits of the source. Run renews tokens near half of their life; a token
// is served until it expires while the source is away.
type Cache struct {
	source  Source
	timeout time.Duration
	max     int
	wake    chan struct{} // tells Run that there may be something to do

	managed, applications *budget
	renewals              sync.WaitGroup // calls that Run began

	mu         sync.RWMutex
	entries    map[key]*entry // guarded by mu, as is all of an entry but its use
	identities map[key]*lot   // by key.identity; guarded by mu
	calls      map[key]*call  // under way or queued; guarded by mu
	outcomes   Outcomes       // guarded by mu
}

var _ Source = (*Cache)(nil)

// NewCache makes an empty cache.
func NewCache(c CacheConfig) *Cache {
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	if c.MaxEntries <= 0 {
		c.MaxEntries = defaultEntries
	}
	return &Cache{
		source: c.Source, timeout: c.Timeout, max: c.MaxEntries, wake: make(chan struct{}, 1),
		managed: newBudget(managedLimits()), applications: newBudget(applicationLimits()),
		entries: make(map[key]*entry), identities: make(map[key]*lot), calls: make(map[key]*call),
	}
}

// Token is Get for nobody in particular.
func (c *Cache) Token(ctx context.Context, r *Request) (Token, error) {
	t, _, err := c.Get(ctx, r, Ask{})
	return t, err
}

// Cached returns a token for r from memory, and false where Get would wait for
// the source or fail. It never waits.
func (c *Cache) Cached(r *Request, a Ask) (Token, How, bool) {
	k, now := r.key(), time.Now()
	c.mu.RLock()
	defer c.mu.RUnlock()
	e := c.entries[k]
	if e == nil {
		return Token{}, "", false
	}
	how, ok := e.verdict(now, a.Refused).serves()
	if !ok {
		return Token{}, "", false
	}
	c.used(e, now)
	return e.token, how, true
}

// Get returns a token for r, and where it came from. The token has at least ten
// minutes left if any such can be had. It fails as the source does (see Error),
// as ctx does, or with an *Error of kind Busy when too many calls of a.Owner
// wait already.
func (c *Cache) Get(ctx context.Context, r *Request, a Ask) (Token, How, error) {
	if t, how, ok := c.Cached(r, a); ok {
		return t, how, nil
	}
	t, how, err := c.get(ctx, r, a)
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		return c.get(ctx, r, a) // Run ended, and with it the call that was joined
	}
	if err == nil && how == Coalesced && a.Refused != "" && strings.EqualFold(sum(t.Value), a.Refused) {
		return c.get(ctx, r, a) // the call that was joined did not know of the refusal
	}
	return t, how, err
}

// get waits for the one call for r.
func (c *Cache) get(ctx context.Context, r *Request, a Ask) (Token, How, error) {
	now := time.Now()
	j := c.join(ctx, r, a, foreground, now)
	if j.call == nil {
		return j.token, j.how, j.err
	}
	var tired <-chan time.Time
	held := j.token.ExpiresOn.After(now)
	if held {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		tired = timer.C
	}
	var err error
	select {
	case <-j.call.done:
		if j.call.err == nil {
			return j.call.token, j.how, nil
		}
		err = j.call.err
	case <-tired:
		c.leave(j.call)
	case <-ctx.Done():
		c.leave(j.call)
		err = ctx.Err()
	}
	if held && j.token.ExpiresOn.After(time.Now()) {
		return j.token, Stale, nil
	}
	if err == nil { // it expired while the source was slow
		err = context.DeadlineExceeded
	}
	return Token{}, j.how, err
}

// Prefetch sees to it that a token for r is there before anybody asks for it. It
// gives way to every caller and to renewals, and returns when the token is
// there, when the source fails, or when ctx ends.
func (c *Cache) Prefetch(ctx context.Context, r *Request) error {
	j := c.join(ctx, r, Ask{}, prefetch, time.Now())
	if j.call == nil {
		return j.err
	}
	select {
	case <-j.call.done:
		return j.call.err
	case <-ctx.Done():
		c.leave(j.call)
		return ctx.Err()
	}
}
