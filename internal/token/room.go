package token

import "time"

// perIdentity bounds the tokens of one identity, so that no pod can push out
// those of others by asking for one resource after the other.
const perIdentity = 64

// hasRoom reports whether k fits without anything going. c.mu is held.
func (c *Cache) hasRoom(k key) bool {
	return len(c.entries) < c.max && c.held(k.identity()) < perIdentity
}

// insert makes the entry of a call. c.mu is held.
func (c *Cache) insert(cl *call) *entry {
	e := &entry{request: cl.request, owner: cl.owner, calling: true}
	c.entries[cl.key] = e
	c.lot(cl.key).entries++
	return e
}

func (c *Cache) drop(k key) {
	if _, ok := c.entries[k]; !ok {
		return
	}
	delete(c.entries, k)
	c.lot(k).entries--
	c.tidy(k)
}

// makeRoom lets go of what is over and of failures, and then of one entry where
// cl would not fit: of its own identity when that has too many, else of the identity with the
// most. c.mu is held.
func (c *Cache) makeRoom(cl *call, now time.Time) {
	if c.hasRoom(cl.key) {
		return
	}
	full := len(c.entries) >= c.max
	for k, e := range c.entries {
		failure := e.token.Value == "" && !e.calling && (full || k.identity() == cl.key.identity())
		if failure || e.over(now) {
			c.drop(k)
		}
	}
	if c.hasRoom(cl.key) {
		return
	}
	from := cl.key.identity()
	if c.held(from) < perIdentity {
		for id, l := range c.identities {
			if l.entries > c.held(from) {
				from = id
			}
		}
	}
	c.drop(c.victim(from, cl.owner))
}

// victim is the entry of an identity that is missed the least: first what the
// owner itself asked for, of that what was asked for the longest ago.
func (c *Cache) victim(identity key, owner string) key {
	var worst key
	var least *entry
	for k, e := range c.entries {
		if k.identity() == identity && (least == nil || e.lessThan(least, owner)) {
			worst, least = k, e
		}
	}
	return worst
}

func (e *entry) lessThan(o *entry, owner string) bool {
	if a, b := e.owner == owner, o.owner == owner; a != b {
		return a
	}
	return e.used.Load() < o.used.Load()
}
