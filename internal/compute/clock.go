package compute

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

// timed runs do for at most d, turns not counted. Where that is why there is no
// answer, the error says so.
func timed[T any](ctx context.Context, d time.Duration, do func(context.Context) (T, error)) (T, error) {
	ctx, stop := withClock(ctx, d)
	defer stop()
	v, err := do(ctx)
	if _, answered := errors.AsType[*azcore.ResponseError](err); err == nil || answered || ctx.Err() == nil {
		return v, err
	}
	return v, fmt.Errorf("%w (%w)", context.Cause(ctx), err)
}

// clock ends a context after some time of work. It stands still while a request
// waits for its turn: with many machines that may take minutes, and no answer is
// late meanwhile.
type clock struct {
	cancel context.CancelCauseFunc
	whole  time.Duration

	mu      sync.Mutex // guards what follows
	timer   *time.Timer
	left    time.Duration
	since   time.Time // when timer was started
	stopped int       // by how many
}

type clockKey struct{}

// withClock ends ctx after d. Call stop when the work is done.
func withClock(ctx context.Context, d time.Duration) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	c := &clock{cancel: cancel, whole: d, left: d, since: time.Now()}
	c.timer = time.AfterFunc(d, c.ring)
	return context.WithValue(ctx, clockKey{}, c), func() {
		c.timer.Stop()
		cancel(context.Canceled)
	}
}

func (c *clock) ring() {
	c.cancel(fmt.Errorf("it took longer than %s: %w", c.whole, context.DeadlineExceeded))
}

// stopClock has the clock in ctx stand still, if there is one, until resume.
func stopClock(ctx context.Context) (resume func()) {
	c, ok := ctx.Value(clockKey{}).(*clock)
	if !ok {
		return func() {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped++; c.stopped == 1 && c.timer.Stop() {
		c.left -= time.Since(c.since)
	}
	return c.resume
}

func (c *clock) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped--; c.stopped == 0 {
		c.since = time.Now()
		c.timer.Reset(max(c.left, 0))
	}
}
