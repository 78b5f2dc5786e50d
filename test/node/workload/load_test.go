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
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
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
		t.Fatal("no report fits in 20 s")
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
			case <-time.After(5 * time.Second):
				t.Error("nobody asks while a report is on its way")
			}
		})
	}
	underLoad(t, ask, taken, func(r Report) bool { return r.Good > 20 })
}

// TestLoadTellsThatItStoodStill asks what is never answered again after a while.
func TestLoadTellsThatItStoodStill(t *testing.T) {
	var asked atomic.Int32
	ask := func(context.Context) (Report, error) {
		if asked.Add(1) > 8 {
			<-t.Context().Done()
		}
		return Report{}, nil
	}
	underLoad(t, ask, func(Report) {}, func(r Report) bool { return r.Good == 8 && r.Still >= time.Second/2 })
}
