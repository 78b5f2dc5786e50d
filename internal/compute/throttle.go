package compute

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"golang.org/x/time/rate"
)

// Limits is what Azure has been asked lately, and where it wants to be left alone.
// Clients that one follows upon the other share it: Azure does not forget with
// them. It may be used concurrently.
type Limits struct {
	mu      sync.Mutex          // guards what follows
	buckets map[place]*bucket   // those in use
	pauses  map[place]time.Time // until when Azure is not to be asked
	swept   time.Time           // when what is not in use was forgotten last
}

// NewLimits makes limits of which nothing has been used.
func NewLimits() *Limits {
	return &Limits{buckets: make(map[place]*bucket), pauses: make(map[place]time.Time)}
}

// throttle has every request wait for its turn, shared by all that is asked within
// the same Limits: within what Azure documents for one resource, and within half
// of what it documents for a subscription. Where Azure has said 429 nothing is
// sent until it wants to be asked again.
type throttle struct {
	*Limits

	// longest bounds the wait for the answer to one request.
	longest time.Duration
	// waited is told of each wait for a turn.
	waited func(bucket string, d time.Duration)
}

// bucket may be forgotten when it is full: a new one is the same.
type bucket struct {
	*rate.Limiter

	takers int // guarded by throttle.mu
}

// unsentError is the error of a request that had no turn: nothing was sent.
type unsentError struct {
	error

	// after is when it may be sent, where that is known.
	after time.Duration
}

func (e unsentError) Unwrap() error { return e.error }

// NonRetriable tells the SDK not to try again.
func (unsentError) NonRetriable() {}

func newThrottle(c Config) *throttle {
	return &throttle{Limits: c.Limits, longest: c.RequestTimeout, waited: c.Waited}
}

// shortest is the shortest wait that is told of: a request that had its turn at
// once takes some time too.
const shortest = time.Millisecond

// tell tells of a wait that began at a time.
func (t *throttle) tell(p place, began time.Time) {
	if d := time.Since(began); d >= shortest && t.waited != nil {
		t.waited(p.bucket(), d)
	}
}

// stubborn marks the context of requests that wait where Azure wants to be left
// alone, and go on when it does: what was begun is to be seen to its end.
type stubborn struct{}

// unsaid is how long Azure is left alone after a 429 that does not say how long.
const unsaid = 10 * time.Second

// Do is the policy of the SDK's pipeline.
func (t *throttle) Do(req *policy.Request) (*http.Response, error) {
	ctx := req.Raw().Context()
	patient := ctx.Value(stubborn{}) != nil
	charges := chargesOf(req.Raw())
	for {
		if err := t.turn(ctx, charges, patient); err != nil {
			return nil, err
		}
		answer, err := t.send(req)
		if err != nil || answer.StatusCode != http.StatusTooManyRequests {
			return answer, err
		}
		t.pause(throttledIn(answer.Header, charges), answer.Header)
		if !patient || len(charges) == 0 {
			return answer, nil
		}
	}
}

func (t *throttle) send(req *policy.Request) (*http.Response, error) {
	// The SDK has read the whole body before it returns from here.
	ctx, cancel := context.WithTimeout(req.Raw().Context(), t.longest)
	defer cancel()
	return req.WithContext(ctx).Next()
}

// turn waits until the request may be sent. That does not use up the time of the
// clock in ctx, but for the pace at which one operation is asked about: else one
// that hangs would be waited for several times as long.
func (t *throttle) turn(ctx context.Context, charges []charge, patient bool) error {
	for {
		for _, c := range charges {
			if err := t.take(ctx, c, patient && c.resource != ""); err != nil {
				return unsentError{error: err}
			}
		}
		where, left := t.paused(charges, time.Now())
		if left <= 0 {
			return nil
		}
		if !patient {
			return unsentError{where.tooMuch(left), left}
		}
		began := time.Now()
		err := sleep(ctx, left) // then a token again: others wait for the same moment
		if t.tell(where, began); err != nil {
			return unsentError{error: err}
		}
	}
}

// sleep waits while Azure wants to be left alone.
func sleep(ctx context.Context, d time.Duration) error {
	defer stopClock(ctx)()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p place) tooMuch(left time.Duration) error {
	where := "this resource"
	if p.resource == "" {
		where = "subscription " + p.subscription
	}
	return fmt.Errorf("azure was asked too much of %s and wants to be left alone for %s more", where, left.Round(time.Second))
}

// take waits for a token of one bucket, with the clock in ctx going on or not.
func (t *throttle) take(ctx context.Context, c charge, clocked bool) error {
	if !clocked {
		defer stopClock(ctx)()
	}
	now := time.Now()
	t.mu.Lock()
	t.sweep(now)
	b := t.buckets[c.place]
	if b == nil {
		b = &bucket{Limiter: c.limit.limiter()}
		t.buckets[c.place] = b
	}
	b.takers++
	t.mu.Unlock()
	err := b.Wait(ctx)
	t.tell(c.place, now)
	t.mu.Lock()
	defer t.mu.Unlock()
	b.takers--
	return err
}

// paused is where Azure wants to be left alone longest, and how much longer.
func (t *throttle) paused(charges []charge, now time.Time) (where place, left time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range charges {
		if l := t.pauses[c.place].Sub(now); l > left {
			where, left = c.place, l
		}
	}
	return where, left
}

func (t *throttle) pause(places []place, h http.Header) {
	now := time.Now()
	until := now.Add(unsaid)
	if wait, said := retryAfter(h, now); said {
		until = now.Add(wait)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range places {
		if until.After(t.pauses[p]) {
			t.pauses[p] = until
		}
	}
}

// sweep forgets, once a minute, the buckets that are full and the pauses that are
// over. The caller holds mu.
func (t *throttle) sweep(now time.Time) {
	if now.Sub(t.swept) < time.Minute {
		return
	}
	t.swept = now
	for p, b := range t.buckets {
		if b.takers == 0 && b.TokensAt(now) >= float64(b.Burst()) {
			delete(t.buckets, p)
		}
	}
	for p, until := range t.pauses {
		if !now.Before(until) {
			delete(t.pauses, p)
		}
	}
}
