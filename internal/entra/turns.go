package entra

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/podid-io/podid/internal/token"
)

// metadataPerSecond is the documented limit of IMDS for everything but tokens,
// per VM: https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service#rate-limiting
const metadataPerSecond = 5

const (
	// pagesPerSecond is how many requests get their turn in a second, at most.
	pagesPerSecond = metadataPerSecond - 1
	// pagesAtOnce is how many turns pages may hold, so that a page that hangs leaves
	// one for the tenant.
	pagesAtOnce = metadataPerSecond - 1
)

// turns are of requests for metadata. The pace alone would not keep them within the
// limit: on a busy machine some that had their turn one after the other leave, or
// arrive, at once. So each counts from its turn until token.WindowLength after its
// end, and no more than the limit do at once.
type turns struct {
	pace  *rate.Limiter
	free  chan time.Time // since when, or from when on, of each that may count
	pages chan struct{}  // a place of each page that has a turn, or is the next to have one
}

func newTurns() turns {
	t := turns{
		pace: rate.NewLimiter(pagesPerSecond, 1), free: make(chan time.Time, metadataPerSecond), pages: make(chan struct{}, pagesAtOnce),
	}
	for range metadataPerSecond {
		t.free <- time.Time{}
	}
	return t
}

// takePage is take for a page, of which few may take turns at once.
func (t turns) takePage(ctx context.Context) (end func(), err error) {
	select {
	case <-ctx.Done():
		return nil, overBefore(ctx)
	case t.pages <- struct{}{}:
	}
	counted, err := t.take(ctx)
	if err != nil {
		<-t.pages
		return nil, err
	}
	return func() { counted(); <-t.pages }, nil
}

// take waits until one more request may begin. Its end is to be told.
func (t turns) take(ctx context.Context) (end func(), err error) {
	switch err := t.pace.Wait(ctx); {
	case err != nil && ctx.Err() != nil:
		return nil, overBefore(ctx)
	case err != nil: // the turn would come after the deadline
		return nil, &token.Error{Kind: token.Unavailable, Err: errors.New("the turn to ask IMDS for metadata would come too late")}
	}
	var from time.Time
	select {
	case <-ctx.Done():
		return nil, overBefore(ctx)
	case from = <-t.free:
	}
	if wait := time.Until(from); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			t.free <- from
			return nil, overBefore(ctx)
		case <-timer.C:
		}
	}
	return func() { t.free <- time.Now().Add(token.WindowLength) }, nil
}

// overBefore is why a request did not get its turn.
func overBefore(ctx context.Context) error {
	return fmt.Errorf("wait to ask IMDS for metadata: %w", ctx.Err())
}
