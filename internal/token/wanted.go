package token

import "time"

// lot is what is known of one identity, all its tokens together.
type lot struct {
	entries int
	// credential is the digest of the one that came last: that of a call for which
	// nothing was held. It came at came, in Unix nanoseconds, and is proven once it
	// has brought a token.
	credential string
	came       int64
	proven     bool
}

// lot returns that of k's identity, which it makes if need be. c.mu is held.
func (c *Cache) lot(k key) *lot {
	id := k.identity()
	l := c.identities[id]
	if l == nil {
		l = &lot{}
		c.identities[id] = l
	}
	return l
}

// held counts the entries of an identity. c.mu is held.
func (c *Cache) held(identity key) int {
	if l := c.identities[identity]; l != nil {
		return l.entries
	}
	return 0
}

// tidy forgets k's identity when nothing of it is held. c.mu is held.
func (c *Cache) tidy(k key) {
	if id := k.identity(); c.held(id) == 0 {
		delete(c.identities, id)
	}
}

// came remembers the credential of a call for which nothing is held. c.mu is held.
func (c *Cache) came(k key, now time.Time) {
	if l := c.lot(k); l.credential != k.credential {
		l.credential, l.came, l.proven = k.credential, now.UnixNano(), false
	}
}

// proven remembers that k's credential brought a token. c.mu is held.
func (c *Cache) proven(k key) {
	if l := c.lot(k); l.credential == k.credential {
		l.proven = true
	}
}

// replaced reports whether another credential came since e was last asked for:
// e's was withdrawn, as far as anybody can tell, until somebody asks with it
// again. One that merely came first is not replaced, since an application can
// have several, and anybody can make one up. c.mu is held, for reading at least.
func (c *Cache) replaced(k key, e *entry) bool {
	l := c.identities[k.identity()]
	return l != nil && l.credential != k.credential && e.used.Load() <= l.came
}

// outdated reports whether e, which is due, need not be kept: the credential that
// replaced its own works. Not sooner than it is due: two Secrets of one
// application must not push out each other's tokens with every request. c.mu is
// held.
func (c *Cache) outdated(k key, e *entry) bool {
	return c.replaced(k, e) && c.lot(k).proven
}

// wanted reports whether a token is worth renewing: it was asked for since the
// last time, or, a managed identity's, within a day. Each renewal of an
// application's sends its credential, which may have been withdrawn. c.mu is
// held, for reading at least.
func (c *Cache) wanted(k key, e *entry, now time.Time) bool {
	used := e.used.Load()
	if k.managed() {
		return used >= e.settled || now.UnixNano()-used < int64(wantedFor)
	}
	return used >= e.settled && !c.replaced(k, e)
}
