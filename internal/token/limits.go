package token

import (
	"time"

	"golang.org/x/time/rate"
)

// Documented limits of IMDS for managed identities, per VM:
// https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service#rate-limiting
const (
	managedPerSecond = 20
	managedAtOnce    = 5
)

// limits are those of one budget. Zero means no limit, but for atOnce.
type limits struct {
	atOnce    int // calls under way
	ownerOnce int // of one owner, and of renewals: so that a slow source leaves room for others
	groupOnce int // of one application
	perSecond int // calls that reach the source in any one second
	pace      *rate.Limiter
	// mostHold is for how long at most the source can hold all calls back by
	// asking one to come back later.
	mostHold time.Duration
	// Those of prefetches, beside all others.
	prefetchOnce int
	prefetchPace *rate.Limiter
}

// take counts a call that begins.
func (l *limits) take(as class, now time.Time) {
	if l.pace != nil {
		l.pace.AllowN(now, 1)
	}
	if as == prefetch && l.prefetchPace != nil {
		l.prefetchPace.AllowN(now, 1)
	}
}

// managedLimits keep to those of IMDS. The pace spreads calls, so that who comes
// next waits for little; the bound per second is what is strict.
func managedLimits() limits {
	return limits{
		atOnce: managedAtOnce, ownerOnce: managedAtOnce - 1, perSecond: managedPerSecond,
		pace: rate.NewLimiter(16, 4), mostHold: 5 * time.Second, // IMDS counts all of the VM together
		prefetchOnce: 2, prefetchPace: rate.NewLimiter(8, 2),
	}
}

// applicationLimits are modest: Entra ID publishes none.
func applicationLimits() limits {
	return limits{atOnce: 16, ownerOnce: 8, groupOnce: 2, prefetchOnce: 2}
}

// window counts calls so that no more than most reach the source in any one
// second, however late the network delivers them. A call reaches the source
// between its begin and its end. So of the calls that reach it within one second
// the last one to begin sees all the others: under way, or ended within a second.
type window struct {
	most  int
	ended []time.Time // within the last second, the oldest first
}

// WindowLength is how long a call counts after its end where IMDS counts by the
// second: a second, and a little for calls that ended without an answer.
const WindowLength = 1020 * time.Millisecond

// wait is how long the next call must wait when active calls are under way, if
// none of them ends before.
func (w *window) wait(active int, now time.Time) time.Duration {
	for len(w.ended) > 0 && now.Sub(w.ended[0]) >= WindowLength {
		w.ended = w.ended[1:]
	}
	if w.most == 0 || active+len(w.ended) < w.most {
		return 0
	}
	return WindowLength - now.Sub(w.ended[0])
}

func (w *window) end(now time.Time) {
	if w.most > 0 {
		w.ended = append(w.ended, now)
	}
}

// paceWait is how long to wait until l allows one more.
func paceWait(l *rate.Limiter, now time.Time) time.Duration {
	if l == nil {
		return 0
	}
	missing := 1 - l.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	return max(time.Millisecond, time.Duration(missing/float64(l.Limit())*float64(time.Second)))
}

// holdBack lets no call begin for after, since the source asked for that.
func (b *budget) holdBack(after time.Duration, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if until := now.Add(min(after, b.limits.mostHold)); until.After(b.heldUntil) {
		b.heldUntil = until
	}
}

// heldBack reports whether the source wants no calls now.
func (b *budget) heldBack(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return now.Before(b.heldUntil)
}
