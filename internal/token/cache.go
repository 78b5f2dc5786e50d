package token

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// Times of the cache. All are about one token of one identity on one node.
const (
	// minLeft is the least remaining life that is handed out while a newer
	// token can be had: clients treat less than five minutes as expired.
	minLeft = 10 * time.Minute
	// failureTTL is how long a failure answers for the source, so that a crowd
	// of impatient clients costs one call.
	failureTTL = time.Second
	// maxRetryAfter bounds what a source can ask for.
	maxRetryAfter = 25 * time.Second
	// retryRefresh is the pause after a refresh that brought nothing newer.
	retryRefresh = time.Minute
	// defaultTimeout bounds one call to the source.
	defaultTimeout = 30 * time.Second
	// defaultEntries bounds the cache.
	defaultEntries = 4096
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

// CacheConfig says how a Cache behaves.
type CacheConfig struct {
	// Source is asked for what the cache does not hold.
	Source Source
	// Timeout bounds one call to Source. The default is 30 s.
	Timeout time.Duration
	// MaxEntries bounds the tokens held; the one that expires first goes first.
	// The default is 4096.
	MaxEntries int
}

// Cache is a Source over a Source. One call per request is under way at a time,
// whoever waits for it; it runs apart from its callers, so that one who gives up
// does not fail the others. A token is renewed behind its callers' backs when it
// comes near half of its life, and is served until it expires while the source
// is away.
type Cache struct {
	source  Source
	timeout time.Duration
	max     int
	flight  singleflight.Group

	mu      sync.RWMutex
	entries map[key]*entry // guarded by mu; of an entry only renewing changes
}

// entry is what is known for one Request: a token, a recent failure, or both.
type entry struct {
	since     time.Time // when it was made
	token     Token
	refreshAt time.Time   // when to ask for a newer one
	renewing  atomic.Bool // somebody asks for a newer one already
	err       error
	errUntil  time.Time // how long err answers instead of the source
	tryAgain  time.Time // when to ask again, after a try that brought nothing newer
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
	return &Cache{source: c.Source, timeout: c.Timeout, max: c.MaxEntries, entries: make(map[key]*entry)}
}

// Token returns a token for r with at least ten minutes left if any can be had.
// It fails as the source does (see Error), or as ctx does.
func (c *Cache) Token(ctx context.Context, r Request) (Token, error) {
	t, _, err := c.Get(ctx, r)
	return t, err
}

// Get is Token, and says where the answer came from.
func (c *Cache) Get(ctx context.Context, r Request) (Token, How, error) {
	now := time.Now()
	e := c.entry(r)
	if e == nil {
		return c.fetch(ctx, r)
	}
	left := e.token.ExpiresOn.Sub(now)
	switch {
	case left >= minLeft:
		if !now.Before(e.refreshAt) && e.renewing.CompareAndSwap(false, true) {
			c.start(ctx, r) // the result finds its way into the cache; nobody waits
		}
		return e.token, Hit, nil
	case now.Before(e.tryAgain) && left > 0:
		return e.token, Stale, nil
	case now.Before(e.errUntil):
		return Token{}, Hit, e.err
	}
	t, how, err := c.fetch(ctx, r)
	if err != nil && ctx.Err() == nil && time.Until(e.token.ExpiresOn) > 0 {
		return e.token, Stale, nil
	}
	return t, how, err
}

// fetch waits for the one call under way for r, or makes it.
func (c *Cache) fetch(ctx context.Context, r Request) (Token, How, error) {
	done, led := c.start(ctx, r)
	select {
	case res := <-done:
		how := Coalesced
		if led.Load() {
			how = Miss
		}
		t, _ := res.Val.(Token) // nothing else is ever returned
		return t, how, res.Err
	case <-ctx.Done():
		return Token{}, Miss, ctx.Err()
	}
}

// start makes the call to the source for r, or joins the one under way; led
// tells which when the result is there.
func (c *Cache) start(ctx context.Context, r Request) (done <-chan singleflight.Result, led *atomic.Bool) {
	began := time.Now()
	led = new(atomic.Bool)
	return c.flight.DoChan(r.key().String(), func() (any, error) {
		led.Store(true)
		if e := c.entry(r); e != nil && e.since.After(began) {
			return e.token, e.err // a call ended between our look and our start
		}
		// Apart from the first caller's context: the others wait for this too.
		// The timeout ends it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
		defer cancel()
		t, err := c.source.Token(ctx, r)
		return c.store(r, t, err, time.Now())
	}), led
}

func (c *Cache) entry(r Request) *entry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.entries[r.key()]
}

// store keeps the outcome of a call and returns what its callers get.
func (c *Cache) store(r Request, t Token, err error, now time.Time) (Token, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.entries[r.key()]
	e := &entry{since: now}
	switch {
	case err != nil:
		e.err, e.errUntil = err, now.Add(failureTTL)
		if after := retryAfter(err); after > failureTTL {
			e.errUntil = now.Add(min(after, maxRetryAfter))
		}
		if old != nil {
			e.token, e.refreshAt, e.tryAgain = old.token, e.errUntil, e.errUntil
		}
	case old != nil && !t.ExpiresOn.After(old.token.ExpiresOn):
		// The source still serves what we have: that is no refresh.
		e.tryAgain = now.Add(jitter(retryRefresh))
		e.token, e.refreshAt = old.token, e.tryAgain
	default:
		t.Digest = digest(t.Value)
		e.token, e.refreshAt = t, refreshAt(t, now)
	}
	c.makeRoom(r.key(), now)
	c.entries[r.key()] = e
	if err != nil {
		return Token{}, err
	}
	return e.token, nil
}

// makeRoom drops what has expired, and then what expires first, when r would
// not fit. c.mu is held.
func (c *Cache) makeRoom(r key, now time.Time) {
	if _, known := c.entries[r]; known || len(c.entries) < c.max {
		return
	}
	var first key
	var firstEnd time.Time
	for k, e := range c.entries {
		end := e.token.ExpiresOn
		if e.errUntil.After(end) {
			end = e.errUntil
		}
		if end.Before(now) {
			delete(c.entries, k)
		} else if firstEnd.IsZero() || end.Before(firstEnd) {
			first, firstEnd = k, end
		}
	}
	if len(c.entries) >= c.max {
		delete(c.entries, first)
	}
}

// refreshAt is when to renew t: somewhere between 40 and 50 percent of the life
// that it has left, so that tokens issued together are not renewed together.
func refreshAt(t Token, now time.Time) time.Time {
	left := t.ExpiresOn.Sub(now)
	return now.Add(left*2/5 + rand.N(max(1, left/10))) //nolint:gosec // spreads load, guards nothing
}

// jitter is d and up to half of it more.
func jitter(d time.Duration) time.Duration {
	return d + rand.N(d/2) //nolint:gosec // spreads load, guards nothing
}

func retryAfter(err error) time.Duration {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.RetryAfter
	}
	return 0
}

// digest is the beginning of the SHA-256 of a token, in hex: enough to tell
// tokens apart in an audit log, useless to anybody else.
func digest(s Secret) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}
