package token

import (
	"context"
	"time"
)

// Run renews tokens before their callers need them, those that expire first
// before others. A token is renewed as long as it is wanted. Run ends with ctx and with the calls that it began: end
// it after the callers.
func (c *Cache) Run(ctx context.Context) error {
	defer c.stopRenewals()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
		case <-timer.C:
		}
		if next := c.renewDue(ctx, time.Now()); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
	}
}

// renewDue begins the renewals that are due and lets go of what is over. It
// returns when to look again, zero for not before something changes.
func (c *Cache) renewDue(ctx context.Context, now time.Time) (next time.Time) {
	sooner := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, e := range c.entries {
		switch {
		case e.calling: // its end wakes us
		case e.over(now):
			c.drop(k)
		case !e.token.ExpiresOn.After(now):
			sooner(e.overAt())
		case now.Before(e.dueAt):
			sooner(e.dueAt)
		case c.wanted(k, e, now):
			c.beginRenewal(ctx, k, e, now)
		case c.outdated(k, e):
			c.drop(k)
		default:
			e.idle = true
			sooner(e.overAt())
		}
	}
	return next
}

// beginRenewal queues the call that renews e. c.mu is held.
func (c *Cache) beginRenewal(ctx context.Context, k key, e *entry, now time.Time) {
	e.idle = false
	cl := c.begin(k, e.request, Ask{Owner: e.owner}, e, now) //nolint:contextcheck // the context is of the call, set below
	cl.renewal, cl.waiters, cl.ctx = true, 1, ctx
	c.renewals.Add(1)
	_ = c.budget(k).add(cl.turn, refresh, "", e.token.ExpiresOn) // only callers can be too many
}

// stopRenewals takes back the renewals that are queued, unless callers wait for
// them, and waits for those under way, whose context has ended.
func (c *Cache) stopRenewals() {
	c.mu.Lock()
	for _, cl := range c.calls {
		if cl.renewal {
			c.leaveLocked(cl)
		}
	}
	c.mu.Unlock()
	c.renewals.Wait()
}
