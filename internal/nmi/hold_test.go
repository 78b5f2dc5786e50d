package nmi_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/token"
)

func TestHeldRequestWakesWithTheView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.found.Grants[0].Ready = false
		c := serve(t, w, nmi.Controller{})
		go func() {
			time.Sleep(40 * time.Second)
			w.change(func(f *fakeWorld) {
				f.found.Grants = []identity.Grant{{Identity: f.found.Grants[0].Identity, Ready: true}}
			})
		}()
		start := time.Now()
		status, body := c.get(t, ask)
		if status != 200 || body["access_token"] != "the-token" {
			t.Errorf("answered %d %v, want the token", status, body)
		}
		if took := time.Since(start); took != 40*time.Second {
			t.Errorf("the request was held %s, want exactly until the identity was there", took)
		}
	})
}

func TestUpstreamTroubleIsRiddenOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.err = &token.Error{Kind: token.NotThere, Err: errors.New("Identity not found")}
		c := serve(t, w, nmi.Controller{})
		go func() {
			time.Sleep(3 * time.Second)
			w.mu.Lock() // no change that the view could tell of
			defer w.mu.Unlock()
			w.err = nil
		}()
		start := time.Now()
		if status, body := c.get(t, ask); status != 200 {
			t.Errorf("answered %d %v, want the token", status, body)
		}
		if took := time.Since(start); took < 3*time.Second || took > 6*time.Second {
			t.Errorf("the request was held %s, want a little over 3s", took)
		}
	})
}

func TestHeldRequestsAreBoundedByPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.found.Grants[0].Ready = false
		c := serve(t, w, nmi.Controller{})
		var mu sync.Mutex
		statuses := map[int]int{}
		var g sync.WaitGroup
		for range 40 {
			g.Go(func() {
				status, _ := c.get(t, ask)
				mu.Lock()
				defer mu.Unlock()
				statuses[status]++
			})
		}
		synctest.Wait() // 32 are held, and 8 have been told
		mu.Lock()
		if statuses[429] != 8 || len(statuses) != 1 {
			t.Errorf("while 32 are held, the answers are %v, want eight times 429", statuses)
		}
		mu.Unlock()
		g.Wait()
		if statuses[404] != 32 {
			t.Errorf("the answers are %v, want 32 times 404 at the end of the hold", statuses)
		}
	})
}

func TestUpstreamThatStaysAwayIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.err = errors.New("connection refused")
		c := serve(t, w, nmi.Controller{})
		start := time.Now()
		status, body := c.get(t, ask)
		if status != 404 || !strings.Contains(body["error_description"], "does not answer") || strings.Contains(body["error_description"], "refused") {
			t.Errorf("answered %d %v, want 404 and words without details", status, body)
		}
		if took := time.Since(start); took != nmi.DefaultHold {
			t.Errorf("held %s, want %s", took, nmi.DefaultHold)
		}
	})
}
