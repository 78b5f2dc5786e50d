package nmi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

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
		if want := strconv.Itoa(int(time.Until(w.token.ExpiresOn) / time.Second)); body["expires_in"] != want {
			t.Errorf("expires_in is %s, want %s from now on", body["expires_in"], want)
		}
	})
}

// A list in place of a broken watch changes the view object by object, and those
// who wait look between any two of them.
func TestWhoWaitsIsNotRefusedBetweenTwoObjectsOfAList(t *testing.T) {
	for name, test := range map[string]struct {
		before []identity.Grant // between the two
		gone   bool             // there is no second one
		want   int
	}{
		"bound to nothing in between":                    {nil, false, 200},
		"bound to another in between":                    {[]identity.Grant{{Identity: identity.Identity{ClientID: "another"}, Ready: true}}, false, 200},
		"bound to nothing, and it stays so":              {nil, true, 400},
		"bound to another, and there it stays from then": {[]identity.Grant{{Identity: identity.Identity{ClientID: "another"}, Ready: true}}, true, 400},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.found.Pod.Created = time.Now().Add(-time.Hour)
				right := []identity.Grant{{Identity: w.found.Grants[0].Identity, Ready: true}}
				w.found.Grants[0].Ready = false
				c := serve(t, w, nmi.Controller{})
				go func() {
					time.Sleep(10 * time.Second)
					w.change(func(f *fakeWorld) { f.found.Grants = test.before })
					synctest.Wait() // whoever waits has looked
					if !test.gone {
						w.change(func(f *fakeWorld) { f.found.Grants = right })
					}
				}()
				start := time.Now()
				status, body := c.get(t, ask+"&client_id="+right[0].Identity.ClientID)
				if status != test.want || time.Since(start) > 11*time.Second {
					t.Errorf("answered %d %v after %s, want %d", status, body["error_description"], time.Since(start), test.want)
				}
			})
		})
	}
}

// What is waited for can take longer than it takes a young pod to grow old.
func TestEachLookIsMadeAtItsOwnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.found.Pod.Created = time.Now().Add(10*time.Second - identity.Grace)
		w.found.Grants[0].Ready = false
		c := serve(t, w, nmi.Controller{})
		go func() {
			time.Sleep(20 * time.Second)
			w.change(func(f *fakeWorld) { f.found.Grants = nil })
		}()
		if status, body := c.get(t, ask); status != 400 {
			t.Errorf("answered %d %v, want 400: no binding, and the pod is old by now", status, body)
		}
	})
}

func TestDurationsCountTheHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.found.Grants[0].Ready = false
		metrics := prometheus.NewRegistry()
		c := serve(t, w, nmi.Controller{}, func(c *nmi.Config) {
			c.Metrics = nmi.NewMetrics(metrics)
			auditTo(t, io.Discard)(c)
		})
		c.get(t, ask)
		const want = `podid_token_request_duration_seconds_sum{door="pod",outcome="not_ready"} 50`
		w2 := httptest.NewRecorder()
		promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}).ServeHTTP(w2, httptest.NewRequest(http.MethodGet, "/", nil))
		if !strings.Contains(w2.Body.String(), want+"\n") {
			t.Errorf("the metrics lack %q", want)
		}
	})
}

func TestDrainClosesConnectionsWithTheirAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := newPipeListener(), newWorld()
		s := newServer(t, w)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Serve(ctx, l) }()
		conn, err := l.dial(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		in := bufio.NewReader(conn)
		closes := func() bool {
			t.Helper()
			if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: 169.254.169.254\r\nMetadata: true\r\n\r\n", ask); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("answered %d, %v", resp.StatusCode, err)
			}
			return resp.Close
		}
		if closes() {
			t.Error("the connection closes with its first answer")
		}
		go func() { // while the next request is held
			time.Sleep(10 * time.Second)
			s.Drain()
			w.change(func(f *fakeWorld) {
				f.found.Grants = []identity.Grant{{Identity: f.found.Grants[0].Identity, Ready: true}}
			})
		}()
		w.change(func(f *fakeWorld) { f.found.Grants = []identity.Grant{{Identity: f.found.Grants[0].Identity}} })
		if !closes() {
			t.Error("the connection is kept while the server drains")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
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
		told := func() int {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return statuses[429]
		}
		if n := told(); n != 0 {
			t.Errorf("%d are refused at once: who floods would ask again at once", n)
		}
		if time.Sleep(499 * time.Millisecond); told() != 0 {
			t.Errorf("%d are refused before half a second is over", told())
		}
		time.Sleep(2 * time.Millisecond)
		told()
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
