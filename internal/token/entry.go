package token

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/podid-io/podid/internal/imds"
)

// Times of the cache. All are about one token of one identity on one node.
const (
	// minLeft is the least remaining life that is handed out while a newer
	// token can be had: clients treat less than five minutes as expired.
	minLeft = 10 * time.Minute
	// failureTTL is how long a failure answers for the source, so that a crowd
	// of impatient clients costs one call. For a refusal it grows up to
	// rejectedTTL: it will not change by itself.
	failureTTL  = time.Second
	rejectedTTL = 30 * time.Second
	// failureMemory is how long a failure counts when the next one comes.
	failureMemory = time.Minute
	// maxRetryAfter bounds what a source can ask of callers.
	maxRetryAfter = 25 * time.Second
	// retryRefresh is the pause after a first refresh that brought nothing newer,
	// retryRefreshMax after many, retryRefreshUrgent when under minLeft is left.
	retryRefresh       = time.Minute
	retryRefreshMax    = 10 * time.Minute
	retryRefreshUrgent = 30 * time.Second
	// forcePause is how often a refused token can cause a call.
	forcePause = time.Minute
	// wantedFor is how long after it was last asked for a managed identity's token
	// is renewed.
	wantedFor = 24 * time.Hour
)

// entry is what is known for one key: a token, a recent failure, or both.
type entry struct {
	request *Request
	owner   string       // who asked first
	used    atomic.Int64 // when it was last asked for, in Unix nanoseconds
	idle    bool         // due, but nobody asks for it
	calling bool         // a call is queued or under way

	token       Token
	sum         string    // SHA-256 of the token, in hex
	settled     int64     // when the last call began that brought a token or a refusal, in Unix nanoseconds
	dueAt       time.Time // when to ask for a newer one
	forcedUntil time.Time // until when a refused token causes no call

	failures int // in a row
	err      error
	errUntil time.Time // how long err answers instead of the source
}

// verdict is what an entry says to a request.
type verdict int

const (
	ask        verdict = iota // the source must be asked
	serve                     // the token is good
	serveStale                // the token is valid, and no better one is to be had now
	fail                      // a failure is remembered
)

// serves is how the token is served, and whether it is.
func (v verdict) serves() (How, bool) {
	switch v {
	case serve:
		return Hit, true
	case serveStale:
		return Stale, true
	default:
		return "", false
	}
}

func (e *entry) verdict(now time.Time, refused string) verdict {
	left := e.token.ExpiresOn.Sub(now)
	switch {
	case left > 0 && refused != "" && e.isRefused(refused):
		if !e.calling && now.Before(e.forcedUntil) {
			return serve // the source was asked just now, and this is what there is
		}
		return ask
	case left >= minLeft:
		return serve
	case left > 0 && e.failures > 0 && (e.calling || now.Before(e.dueAt) || now.Before(e.errUntil)):
		return serveStale
	case now.Before(e.errUntil):
		return fail
	default:
		return ask
	}
}

// isRefused reports whether refused names the token held.
func (e *entry) isRefused(refused string) bool {
	return e.sum != "" && strings.EqualFold(e.sum, refused)
}

// over reports whether nothing is left to know.
func (e *entry) over(now time.Time) bool { return !e.calling && !e.overAt().After(now) }

func (e *entry) overAt() time.Time {
	end := e.token.ExpiresOn
	if e.err != nil && e.errUntil.Add(failureMemory).After(end) {
		end = e.errUntil.Add(failureMemory)
	}
	return end
}

// renew takes a new token.
func (e *entry) renew(t Token, now time.Time) {
	e.token, e.sum, e.dueAt, e.idle = t, sum(t.Value), dueAt(t, now), false
	e.failures, e.err, e.errUntil = 0, nil, time.Time{}
}

// failed remembers a call that brought nothing newer; err is nil when the source
// still serves what is held.
func (e *entry) failed(err error, now time.Time) {
	e.failures++
	var after time.Duration
	if e.err = err; err != nil {
		pause := failureTTL
		if after = retryAfter(err); KindOf(err) == Rejected {
			pause = doubled(failureTTL, e.failures, rejectedTTL)
		}
		e.errUntil = now.Add(max(pause, min(after, maxRetryAfter)))
	}
	if left := e.token.ExpiresOn.Sub(now); left > 0 {
		e.dueAt = now.Add(max(refreshPause(e.failures, left), min(after, retryRefreshMax)))
	}
}

// refreshPause is how long to leave the source alone after n refreshes in a row
// that brought nothing newer, with that much life left.
func refreshPause(n int, left time.Duration) time.Duration {
	d := doubled(retryRefresh, n, retryRefreshMax)
	if left > minLeft {
		d = min(d, max(left-minLeft, retryRefreshUrgent)) // try when the last minutes begin
	} else {
		d = min(d, retryRefreshUrgent)
	}
	return jitter(d)
}

// doubled is d, doubled for each failure after the first, at most most.
func doubled(d time.Duration, failures int, most time.Duration) time.Duration {
	for range failures - 1 {
		if d >= most {
			break
		}
		d *= 2
	}
	return min(d, most)
}

// dueAt is when to renew t: somewhere between 40 and 50 percent of its life, so
// that tokens issued together are not renewed together. Life counts from when
// the token was issued, since a source can hand out an old one and have a newer
// soon.
func dueAt(t Token, now time.Time) time.Time {
	from := t.NotBefore
	if from.IsZero() || from.After(now) {
		from = now
	}
	life := t.ExpiresOn.Sub(from)
	due := from.Add(life*2/5 + rand.N(max(1, life/10))) //nolint:gosec // spreads load, guards nothing
	if due.After(now) {
		return due
	}
	return now.Add(refreshPause(1, t.ExpiresOn.Sub(now)))
}

// jitter is d less up to a third.
func jitter(d time.Duration) time.Duration {
	return d - rand.N(max(1, d/3)) //nolint:gosec // spreads load, guards nothing
}

func retryAfter(err error) time.Duration {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.RetryAfter
	}
	return 0
}

// sum is the SHA-256 of a token, in hex.
func sum(s Secret) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// digestLength is how much of the sum an audit log gets: enough to tell tokens
// apart, useless to anybody else.
const digestLength = 16

// store keeps the outcome of a call and returns what its callers get. c.mu is held.
func (c *Cache) store(cl *call, t Token, err error, now time.Time) (Token, error) {
	e := c.entries[cl.key]
	if err == nil {
		err = unusable(t, now)
	}
	switch {
	case errors.Is(err, context.Canceled): // Run ended, which says nothing of the source
		return Token{}, err
	case err != nil:
		c.outcomes.failed(err)
		if e == nil && c.hasRoom(cl.key) { // a failure pushes nothing out
			e = c.insert(cl)
		}
		if e != nil {
			e.failed(err, now)
			if KindOf(err) == Rejected {
				e.settled = cl.began.UnixNano()
			}
		}
		return Token{}, err
	case e != nil && e.token.ExpiresOn.After(now) && !newer(e, t, cl.forced):
		c.outcomes.Unchanged++
		e.failed(nil, now)
		e.touch(cl.asked)
		return e.token, nil
	}
	c.outcomes.Issued++
	t.Digest = sum(t.Value)[:digestLength]
	t.ObjectID, t.TenantID = claims(t.Value)
	if e == nil {
		c.makeRoom(cl, now)
		e = c.insert(cl)
	}
	e.renew(t, now)
	e.settled = cl.began.UnixNano()
	e.touch(cl.asked)
	c.proven(cl.key)
	return t, nil
}

// unusable says why what a source gave cannot be handed out. Tokens are written
// into answers as they are.
func unusable(t Token, now time.Time) error {
	switch {
	case t.Value == "" || !imds.IsPlain(string(t.Value)):
		return &Error{Kind: Unavailable, Err: errors.New("the source answered with what is no bearer token")}
	case !t.ExpiresOn.After(now):
		return &Error{Kind: Unavailable, Err: fmt.Errorf("the source answered with a token that expired at %s: check the clock of the node", t.ExpiresOn.UTC().Format(time.RFC3339))}
	default:
		return nil
	}
}

// newer reports whether t is better than what is held: it expires later, or it is
// another one where the one held is refused.
func newer(e *entry, t Token, refused bool) bool {
	return t.Value != e.token.Value && (refused || t.ExpiresOn.After(e.token.ExpiresOn))
}

// used remembers that somebody asked for e, and has an idle token renewed again.
// c.mu is held, for reading at least.
func (c *Cache) used(e *entry, now time.Time) {
	e.touch(now)
	if e.idle {
		c.poke()
	}
}

func (e *entry) touch(at time.Time) {
	if s := at.UnixNano(); s > e.used.Load() {
		e.used.Store(s)
	}
}
