package token

import (
	"context"
	"errors"
	"time"
)

// call is one call to the source for a key: queued, under way or done.
type call struct {
	key     key
	request *Request
	owner   string    // who asked first
	renewal bool      // Run began it
	began   time.Time // when it was wanted first
	done    chan struct{}
	turn    *ticket

	ctx     context.Context //nolint:containedctx // of whoever the call runs for; guarded by Cache.mu
	waiters int             // callers, and Run for a renewal; guarded by Cache.mu
	asked   time.Time       // when somebody last wanted it for use; guarded by Cache.mu
	forced  bool            // the token held is refused; guarded by Cache.mu, set before running is
	running bool            // it had its turn; guarded by Cache.mu

	token Token // set before done is closed
	err   error // set before done is closed
}

// joined is what a caller got: a call to wait for, or the answer.
type joined struct {
	call  *call
	token Token // the answer, or what there is while the call goes on
	how   How
	err   error
}

// join settles a request from memory, or adds its caller to the one call for it,
// which it begins if need be.
func (c *Cache) join(ctx context.Context, r *Request, a Ask, as class, now time.Time) joined {
	k := r.key()
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[k]
	j := joined{how: Coalesced}
	if e != nil {
		v := e.verdict(now, a.Refused)
		if how, ok := v.serves(); ok { // a call ended since the caller looked
			c.used(e, now)
			return joined{token: e.token, how: how}
		}
		if v == fail {
			return joined{how: Hit, err: e.err}
		}
		j.token = e.token
		if j.token.ExpiresOn.After(now) && !e.isRefused(a.Refused) && c.budget(k).heldBack(now) {
			c.used(e, now)
			return joined{token: e.token, how: Stale} // a newer one is not to be had for a while
		}
	}
	if j.call = c.calls[k]; j.call == nil {
		j.how = Miss
		j.call = c.begin(k, r, a, e, now) //nolint:contextcheck // the context is of the call, set below
	} else if !j.call.running {
		j.call.force(e, a)
	}
	if err := c.budget(k).add(j.call.turn, as, a.Owner, time.Time{}); err != nil && j.how == Miss {
		c.forget(j.call)
		if j.token.ExpiresOn.After(now) {
			return joined{token: j.token, how: Stale}
		}
		return joined{how: Miss, err: err}
	}
	j.call.waiters++
	j.call.asked = now
	// Apart from the caller's context: others wait for this too. The timeout ends it.
	j.call.ctx = context.WithoutCancel(ctx)
	return j
}

// begin makes the call for k, which is not queued yet. c.mu is held.
func (c *Cache) begin(k key, r *Request, a Ask, e *entry, now time.Time) *call {
	request := *r // the caller may reuse its own
	request.Refused = ""
	cl := &call{key: k, request: &request, owner: a.Owner, began: now, done: make(chan struct{})}
	if e != nil {
		e.calling = true
		cl.force(e, a)
	} else {
		c.came(k, now)
	}
	cl.turn = &ticket{group: k.group(), run: func() { c.run(cl) }}
	c.calls[k] = cl
	return cl
}

// force has the source told that the token held is refused, if that is the one
// that a names. c.mu is held.
func (cl *call) force(e *entry, a Ask) {
	if e != nil && e.isRefused(a.Refused) {
		cl.forced, cl.request.Refused = true, e.sum
	}
}

// run asks the source. It is the goroutine of one call: the timeout ends it, and
// for a renewal the end of Run.
func (c *Cache) run(cl *call) {
	c.mu.Lock()
	ctx := cl.ctx
	cl.running = true
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	t, err := c.source.Token(ctx, cl.request)
	now := time.Now()
	c.mu.Lock()
	cl.token, cl.err = c.store(cl, t, err, now)
	c.forget(cl)
	if e := c.entries[cl.key]; e != nil && cl.forced && !errors.Is(err, context.Canceled) {
		e.forcedUntil = now.Add(forcePause) // a call that never ran keeps nobody from the next
	}
	if err != nil && KindOf(err) == Unavailable {
		c.budget(cl.key).holdBack(retryAfter(err), now)
	}
	c.mu.Unlock()
	close(cl.done)
	c.poke()
}

// leave takes one caller off a call. A call that nobody waits for leaves the
// queue; one under way goes on.
func (c *Cache) leave(cl *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaveLocked(cl)
}

func (c *Cache) leaveLocked(cl *call) {
	cl.waiters--
	if cl.waiters == 0 && c.budget(cl.key).remove(cl.turn) {
		c.forget(cl)
	}
}

// forget takes a call that ended, or never will begin, off the list. c.mu is held.
func (c *Cache) forget(cl *call) {
	delete(c.calls, cl.key)
	if e := c.entries[cl.key]; e != nil {
		e.calling = false
	}
	c.tidy(cl.key)
	if cl.renewal {
		c.renewals.Done()
	}
}

// budget is the one that calls for k wait in.
func (c *Cache) budget(k key) *budget {
	if k.managed() {
		return c.managed
	}
	return c.applications
}

// poke wakes Run, if it is not awake already.
func (c *Cache) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
