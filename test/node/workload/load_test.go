package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// underLoad runs load with what is asked and how reports are taken, until a report
// fits ok.
func underLoad(t *testing.T, ask func(context.Context) (Report, error), taken func(Report), ok func(Report) bool) {
	t.Helper()
	fits := make(chan struct{}, 1)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var one Report
		if err := json.NewDecoder(r.Body).Decode(&one); err != nil {
			t.Error(err)
		}
		taken(one)
		if ok(one) {
			select {
			case fits <- struct{}{}:
			default:
			}
		}
	}))
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	ended := make(chan error)
	go func() { ended <- client{as: "load", to: s.URL}.load(ctx, ask) }() // ends with ctx
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	select {
	case <-fits:
	case <-ctx.Done():
		t.Fatal("no report fits in 3 minutes")
	}
}

// TestLoadGoesOnWhileAReportIsLost takes the first report when many more requests have
// been asked than are under way at a time.
func TestLoadGoesOnWhileAReportIsLost(t *testing.T) {
	var asked atomic.Int32
	var first sync.Once
	var since atomic.Int32 // asked when the first report came
	since.Store(1 << 30)
	more := make(chan struct{})
	var enough sync.Once
	ask := func(context.Context) (Report, error) {
		if asked.Add(1) > since.Load()+20 {
			enough.Do(func() { close(more) })
		}
		return Report{}, nil
	}
	taken := func(Report) {
		first.Do(func() {
			since.Store(asked.Load())
			select {
			case <-more:
			case <-time.After(time.Minute):
				t.Error("nobody asks while a report is on its way")
			}
		})
	}
	underLoad(t, ask, taken, func(r Report) bool { return r.Good > 20 })
}

// TestLoadTellsThatItStoodStill asks what is never answered again after a while. From
// the first report after that it stands still, so that what two reports tell is the
// time between them. They come when they can: that one tells of no more than has passed
// since the last answer always holds, and of no less than between the two when the
// second is not much later than it was made, as some are.
func TestLoadTellsThatItStoodStill(t *testing.T) {
	const answers, late = 8, time.Second / 2
	var asked atomic.Int32
	var last atomic.Pointer[time.Time] // when the last answer was given
	ask := func(context.Context) (Report, error) {
		switch n := asked.Add(1); {
		case n == answers:
			last.Store(new(time.Now()))
		case n > answers:
			<-t.Context().Done()
		}
		return Report{}, nil
	}
	var mu sync.Mutex // guards first and came
	var first *Report
	var came time.Time // first
	underLoad(t, ask, func(Report) {}, func(r Report) bool {
		now := time.Now()
		mu.Lock()
		defer mu.Unlock()
		if r.Good != answers {
			return false
		}
		if first == nil {
			first, came = &r, now
		}
		still := r.Still - first.Still
		if most := now.Sub(*last.Load()); still > most {
			t.Errorf("it tells that it stood still for %s, and the last answer was %s ago", still, most)
		}
		passed := now.Sub(came)
		return passed > 3*late && still >= passed-late
	})
}
