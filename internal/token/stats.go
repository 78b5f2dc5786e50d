package token

import "time"

// Stats are figures of a cache at one moment.
type Stats struct {
	// Entries are the tokens and the failures held.
	Entries int
	// Outcomes count the calls to the source since the start.
	Outcomes Outcomes
	// SoonestExpiry is when the first of the tokens in use expires: of those that
	// are renewed, or not due yet. It is zero when there is none.
	SoonestExpiry time.Time
	// RefreshLag is how long ago the oldest renewal was due that is not done.
	RefreshLag time.Duration
	// Queued are the calls that wait for their turn.
	Queued Queued
}

// Outcomes count calls to the source by what came of them.
type Outcomes struct {
	// Issued brought a new token, Unchanged the one that was there.
	Issued, Unchanged uint64
	// Unavailable, NotThere and Rejected failed, by Kind.
	Unavailable, NotThere, Rejected uint64
}

// Queued are the calls that wait for their turn, by class.
type Queued struct {
	// Foreground are those that callers wait for.
	Foreground int
	// Refresh are renewals.
	Refresh int
	// Prefetch are those that nobody waits for yet.
	Prefetch int
}

func (o *Outcomes) failed(err error) {
	switch KindOf(err) {
	case NotThere:
		o.NotThere++
	case Rejected:
		o.Rejected++
	default:
		o.Unavailable++
	}
}

// Stats returns figures for metrics. It looks at every entry.
func (c *Cache) Stats() Stats {
	now := time.Now()
	c.mu.RLock()
	defer c.mu.RUnlock()
	s := Stats{Entries: len(c.entries), Outcomes: c.outcomes}
	for _, e := range c.entries {
		end := e.token.ExpiresOn
		if !end.After(now) || e.idle {
			continue
		}
		if s.SoonestExpiry.IsZero() || end.Before(s.SoonestExpiry) {
			s.SoonestExpiry = end
		}
		s.RefreshLag = max(s.RefreshLag, now.Sub(e.dueAt))
	}
	for _, b := range []*budget{c.managed, c.applications} {
		q := b.queued()
		s.Queued.Foreground += q.Foreground
		s.Queued.Refresh += q.Refresh
		s.Queued.Prefetch += q.Prefetch
	}
	return s
}
