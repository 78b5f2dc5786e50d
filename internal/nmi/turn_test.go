package nmi_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podid-io/podid/internal/nmi"
)

// TestWakeUpsCostNoTurn changes the view again and again under held requests.
func TestWakeUpsCostNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.found.Grants[0].Ready = false
		c := serve(t, w, nmi.Controller{}, func(c *nmi.Config) { c.PodRate = 200 })
		var held sync.WaitGroup
		for range 32 {
			held.Go(func() {
				if status, body := c.get(t, ask); status != 200 {
					t.Errorf("answered %d %v: who waits pays once", status, body)
				}
			})
		}
		for range 40 {
			time.Sleep(25 * time.Millisecond)
			synctest.Wait()
			w.change(func(*fakeWorld) {})
		}
		w.change(func(f *fakeWorld) { f.found.Grants[0].Ready = true })
		held.Wait()
	})
}

func TestWhatTakesATurn(t *testing.T) {
	tests := map[string]struct {
		method, path, body string
		wantFor            time.Duration // of 37 requests on one connection, at 10 a second
	}{
		"a token":                        {http.MethodGet, ask, "", 3 * time.Second},
		"a form that cannot be read":     {http.MethodPost, "/metadata/identity/oauth2/token", "resource=" + strings.Repeat("x", 9<<10), 3 * time.Second},
		"a request without resource":     {http.MethodGet, "/metadata/identity/oauth2/token", "", 3 * time.Second},
		"the tenant of the identity":     {http.MethodGet, "/metadata/identity/info", "", 3 * time.Second},
		"a path that is not served":      {http.MethodGet, "/metadata/identity", "", 0},
		"a family that pods may not see": {http.MethodGet, "/metadata/instance", "", 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := serve(t, newWorld(), nmi.Controller{}, func(c *nmi.Config) { c.PodRate, c.Upstream = 10, &upstream{} })
				start := time.Now()
				for range 37 {
					if status := c.send(t, tc.method, tc.path, tc.body); status == http.StatusTooManyRequests {
						t.Fatal("who asks too often waits")
					}
				}
				if took := time.Since(start); took != tc.wantFor {
					t.Errorf("37 requests took %s, want %s", took, tc.wantFor)
				}
			})
		})
	}
}

// send asks by any method, and returns the status.
func (c client) send(t *testing.T, method, path, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://169.254.169.254"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Metadata", "true")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil { // the connection is used again
		t.Fatal(err)
	}
	return resp.StatusCode
}
