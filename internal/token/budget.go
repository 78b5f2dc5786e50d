package token

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// class says who a call is for.
type class int

const (
	foreground class = iota // callers that wait; owners take turns
	refresh                 // renewals; what expires first goes first
	prefetch                // nobody yet; only when no other call waits
)

const (
	// maxWaiting bounds the calls of one owner that wait for their turn.
	maxWaiting = 32
	// turnMemory is how long an owner's last turn counts at least.
	turnMemory = 10 * time.Second
)

// budget gives calls their turn within the limits of what they ask. Foreground
// and refresh take turns, so that neither waits for more than one call of the
// other. A call can wait in several places, and goes with the first turn.
type budget struct {
	limits limits

	mu         sync.Mutex
	owners     map[string]*line     // guarded by mu, as is all below
	order      []string             // owners with calls that wait, whose last turn is the longest ago first
	turns      map[string]time.Time // the last turns of owners
	forgot     time.Time            // when old ones were last dropped from turns
	refreshes  []*ticket            // by deadline
	prefetches []*ticket
	last       class          // foreground or refresh: who had the last turn
	active     map[class]int  // calls under way
	groups     map[string]int // of them, by group
	window     window
	heldUntil  time.Time // no call begins before
	timer      *time.Timer
}

// line is what one owner has in the budget.
type line struct {
	waiting []*ticket
	active  int
}

// ticket is a call's place in a budget.
type ticket struct {
	run   func() // the call; called in a goroutine of its own
	group string // calls of a group have a limit of their own

	granted  bool // guarded by budget.mu, as is all below
	as       class
	owner    string    // whose turn it went with, where as is foreground
	places   []string  // owners in whose lines it waits
	deadline time.Time // of a refresh
}

func newBudget(l limits) *budget {
	return &budget{
		limits: l, window: window{most: l.perSecond},
		owners: map[string]*line{}, turns: map[string]time.Time{}, active: map[class]int{}, groups: map[string]int{},
	}
}

// add queues t in one more place; one that has had its turn already stays as it
// is. It refuses a foreground call when the owner has too many waiting.
func (b *budget) add(t *ticket, as class, owner string, deadline time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t.granted {
		return nil
	}
	switch as {
	case refresh:
		t.deadline = deadline
		at, _ := slices.BinarySearchFunc(b.refreshes, deadline, func(o *ticket, d time.Time) int {
			if o.deadline.After(d) {
				return 1
			}
			return -1 // after those with the same
		})
		b.refreshes = slices.Insert(b.refreshes, at, t)
	case prefetch:
		if !slices.Contains(b.prefetches, t) {
			b.prefetches = append(b.prefetches, t)
		}
	default:
		if err := b.line(t, owner); err != nil {
			return err
		}
	}
	b.grant()
	return nil
}

// line queues t for an owner. b.mu is held.
func (b *budget) line(t *ticket, owner string) error {
	if slices.Contains(t.places, owner) {
		return nil
	}
	l := b.owners[owner]
	if l == nil {
		l = &line{}
		b.owners[owner] = l
	}
	if len(l.waiting) >= maxWaiting {
		return &Error{Kind: Busy, RetryAfter: 2 * time.Second, Err: errors.New("too many tokens are being waited for already")}
	}
	if len(l.waiting) == 0 {
		b.order = slices.Insert(b.order, b.place(owner), owner)
	}
	l.waiting = append(l.waiting, t)
	t.places = append(t.places, owner)
	return nil
}

// place is where in order an owner belongs: before those who had a turn since its
// own, or it would wait behind whoever always has calls waiting. b.mu is held.
func (b *budget) place(owner string) int {
	last := b.turns[owner]
	at := slices.IndexFunc(b.order, func(o string) bool { return b.turns[o].After(last) })
	if at < 0 {
		return len(b.order)
	}
	return at
}

// remove takes t out of the queue, and is false when it has had its turn.
func (b *budget) remove(t *ticket) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t.granted {
		return false
	}
	b.take(t)
	b.grant() // it may have been all that kept prefetches waiting
	return true
}

// take takes t out of all its places. b.mu is held.
func (b *budget) take(t *ticket) {
	is := func(o *ticket) bool { return o == t }
	for _, owner := range t.places {
		l := b.owners[owner]
		l.waiting = slices.DeleteFunc(l.waiting, is)
		if len(l.waiting) == 0 {
			b.order = slices.DeleteFunc(b.order, func(o string) bool { return o == owner })
			b.clean(owner)
		}
	}
	t.places = nil
	b.refreshes = slices.DeleteFunc(b.refreshes, is)
	b.prefetches = slices.DeleteFunc(b.prefetches, is)
}

func (b *budget) clean(owner string) {
	if l := b.owners[owner]; l != nil && len(l.waiting) == 0 && l.active == 0 {
		delete(b.owners, owner)
	}
}

// grant begins what may begin now, and sees to it that it is called again when
// more may. b.mu is held.
func (b *budget) grant() {
	for {
		now := time.Now()
		t, as, owner := b.next()
		if t == nil {
			return // a call that ends, or comes, asks again
		}
		wait := max(b.window.wait(b.underWay(), now), paceWait(b.limits.pace, now), b.heldUntil.Sub(now))
		if as == prefetch {
			wait = max(wait, paceWait(b.limits.prefetchPace, now))
		}
		if wait > 0 {
			b.later(wait)
			return
		}
		b.limits.take(as, now)
		b.begin(t, as, owner)
	}
}

// next is whose turn it is, if anybody's. b.mu is held.
func (b *budget) next() (t *ticket, as class, owner string) {
	if b.underWay() >= b.limits.atOnce {
		return nil, 0, ""
	}
	fore, owner := b.nextForeground()
	again := b.nextRefresh()
	switch {
	case fore != nil && (again == nil || b.last == refresh):
		return fore, foreground, owner
	case again != nil:
		return again, refresh, ""
	case len(b.order) == 0 && len(b.refreshes) == 0 && b.active[prefetch] < b.limits.prefetchOnce:
		return b.free(b.prefetches), prefetch, ""
	default:
		return nil, 0, ""
	}
}

func (b *budget) nextForeground() (*ticket, string) {
	for _, owner := range b.order {
		l := b.owners[owner]
		if l.active >= b.limits.ownerOnce {
			continue
		}
		if t := b.free(l.waiting); t != nil {
			return t, owner
		}
	}
	return nil, ""
}

func (b *budget) nextRefresh() *ticket {
	if b.active[refresh] >= b.limits.ownerOnce {
		return nil
	}
	return b.free(b.refreshes)
}

// free is the first call whose group has room.
func (b *budget) free(list []*ticket) *ticket {
	for _, t := range list {
		if b.limits.groupOnce == 0 || b.groups[t.group] < b.limits.groupOnce {
			return t
		}
	}
	return nil
}

// begin gives t its turn. b.mu is held.
func (b *budget) begin(t *ticket, as class, owner string) {
	b.take(t)
	t.granted, t.as, t.owner = true, as, owner
	b.active[as]++
	b.groups[t.group]++
	switch as {
	case foreground:
		l := b.owners[owner]
		if l == nil {
			l = &line{}
			b.owners[owner] = l
		}
		l.active++
		b.last = foreground
		if at := slices.Index(b.order, owner); at >= 0 { // it has more: the others come first
			b.order = append(slices.Delete(b.order, at, at+1), owner)
		}
		b.hadTurn(owner, time.Now())
	case refresh:
		b.last = refresh
	default:
	}
	go func() { // ends with the call
		defer b.end(t)
		t.run()
	}()
}

// hadTurn notes an owner's turn, and forgets old ones. b.mu is held.
func (b *budget) hadTurn(owner string, now time.Time) {
	b.turns[owner] = now
	if now.Sub(b.forgot) < turnMemory {
		return
	}
	b.forgot = now
	maps.DeleteFunc(b.turns, func(_ string, last time.Time) bool { return now.Sub(last) > turnMemory })
}

// end gives back what t had.
func (b *budget) end(t *ticket) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.active[t.as]--
	if b.groups[t.group]--; b.groups[t.group] == 0 {
		delete(b.groups, t.group)
	}
	if t.as == foreground {
		b.owners[t.owner].active--
		b.clean(t.owner)
	}
	b.window.end(time.Now())
	b.grant()
}

func (b *budget) underWay() int {
	return b.active[foreground] + b.active[refresh] + b.active[prefetch]
}

// later calls grant after d. b.mu is held.
func (b *budget) later(d time.Duration) {
	if b.timer != nil {
		b.timer.Stop()
	}
	b.timer = time.AfterFunc(d, func() { // ends at once
		b.mu.Lock()
		defer b.mu.Unlock()
		b.grant()
	})
}

// queued counts the calls that wait.
func (b *budget) queued() Queued {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := Queued{Refresh: len(b.refreshes), Prefetch: len(b.prefetches)}
	for _, l := range b.owners {
		q.Foreground += len(l.waiting)
	}
	return q
}
