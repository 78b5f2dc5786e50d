package nmi

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits on what one pod can make the others wait for.
const (
	// maxHeldByPod and maxHeld bound the requests that wait: for an identity on
	// its way, for a token from Azure, or for their turn.
	maxHeldByPod = 32
	maxHeld      = 4096
	// maxConnectionsByPod bounds the open connections of one address.
	maxConnectionsByPod = 256
	// maxConnections bounds those of all.
	maxConnections = 8192
	// maxPassedOn bounds the requests of one holder that the metadata service of
	// the node answers at once: what others ask of it waits behind them.
	maxPassedOn = 2
	// connectionCost is what a new connection costs, in requests: the kernel is
	// asked where it comes from.
	connectionCost = 4
	// refusalPause is how long a request that there is no place for waits for its
	// refusal.
	refusalPause = 500 * time.Millisecond
	// complaintPause is the least time between two lines of audit about requests
	// of one holder that there was no place for.
	complaintPause = time.Second
	// shareLife is how long a share is remembered that nobody uses.
	shareLife = 5 * time.Minute
)

// fairness keeps a pod from taking the agent away from the others: each address
// has its share of requests, and of requests that wait.
type fairness struct {
	rate rate.Limit // requests a second of one address

	mu     sync.Mutex
	total  int               // of requests that wait; guarded by mu
	conns  int               // guarded by mu
	shares map[holder]*share // guarded by mu
	swept  time.Time         // guarded by mu
}

// holder is whose share it is: an address that connections come from, or the pod
// that a process of the node asks for.
type holder struct {
	addr netip.Addr
	uid  string
}

// share is what one holder uses.
type share struct {
	limiter    *rate.Limiter
	complained time.Time // guarded by fairness.mu
	held       int       // guarded by fairness.mu
	passed     int       // of held, those passed on; guarded by fairness.mu
	conns      int       // guarded by fairness.mu
	used       time.Time // guarded by fairness.mu
}

func newFairness(perSecond float64) *fairness {
	return &fairness{rate: rate.Limit(perSecond), shares: make(map[holder]*share)}
}

// of is the share of a holder. f.mu is held.
func (f *fairness) of(who holder, now time.Time) *share {
	s, ok := f.shares[who]
	if !ok {
		f.sweep(now)
		s = &share{limiter: rate.NewLimiter(f.rate, int(f.rate))}
		f.shares[who] = s
	}
	s.used = now
	return s
}

// sweep forgets shares that nobody uses. f.mu is held.
func (f *fairness) sweep(now time.Time) {
	if now.Sub(f.swept) < shareLife {
		return
	}
	f.swept = now
	for a, s := range f.shares {
		if s.held == 0 && s.conns == 0 && now.Sub(s.used) > shareLife {
			delete(f.shares, a)
		}
	}
}

// connect counts a connection, and reports false when there are too many.
func (f *fairness) connect(who holder) (*share, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.of(who, time.Now())
	s.conns++
	f.conns++
	return s, s.conns <= maxConnectionsByPod && f.conns <= maxConnections
}

// disconnect takes a connection off again.
func (f *fairness) disconnect(who holder) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.of(who, time.Now()).conns--
	f.conns--
}

// begin takes a place among the requests that wait, and reports false when there
// is none.
func (f *fairness) begin(who holder) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.of(who, time.Now())
	if f.total >= maxHeld || s.held >= maxHeldByPod {
		return false
	}
	f.total++
	s.held++
	return true
}

// end gives a place back.
func (f *fairness) end(who holder) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.total--
	f.of(who, time.Now()).held--
}

// beginPass is begin for a request that is passed on.
func (f *fairness) beginPass(who holder) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.of(who, time.Now())
	if s.passed >= maxPassedOn || f.total >= maxHeld || s.held >= maxHeldByPod {
		return false
	}
	f.total++
	s.held++
	s.passed++
	return true
}

// endPass gives the place of beginPass back.
func (f *fairness) endPass(who holder) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.total--
	s := f.of(who, time.Now())
	s.held--
	s.passed--
}

// mayComplain reports whether a request that there was no place for leaves a line
// in the audit log: one in a second.
func (f *fairness) mayComplain(who holder, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.of(who, now)
	if now.Sub(s.complained) < complaintPause {
		return false
	}
	s.complained = now
	return true
}

// turn waits until it is the holder's turn for a request that costs n. It
// reports false when too many of it wait already, or ctx ended.
func (f *fairness) turn(ctx context.Context, s *share, who holder, n int, now time.Time) bool {
	if s.limiter.AllowN(now, n) {
		return true
	}
	if !f.begin(who) {
		return false
	}
	defer f.end(who)
	return s.limiter.WaitN(ctx, n) == nil
}
