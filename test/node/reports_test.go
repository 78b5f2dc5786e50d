package node_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/podid-io/podid/test/localcluster"
)

// reportsAddress is where workloads tell what they got.
const reportsAddress = localcluster.FabricAddress + ":9000"

// report is what a workload tells; see test/node/workload.
type report struct {
	As       string `json:"as"`
	ClientID string `json:"clientId"`
	Error    string `json:"error"`
	Good     int    `json:"good"`
	Bad      int    `json:"bad"`
	// Oldest is when the oldest request began that is in neither of them, under load.
	Oldest time.Time `json:"oldest"`
	// Still is for how long no request was answered for a second or more, under load.
	Still time.Duration `json:"still"`

	at time.Time // when it came
}

// reports is what all workloads have told.
type reports struct {
	mu      sync.Mutex          // guards what follows
	all     map[string][]report // by who tells
	changed chan struct{}       // closed, and made anew, when there is another one
}

// collect listens for reports until the test ends.
func collect(t *testing.T) *reports {
	t.Helper()
	r := &reports{all: map[string][]report{}, changed: make(chan struct{})}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", reportsAddress)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var one report
		if err := json.NewDecoder(req.Body).Decode(&one); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		r.add(one)
	})}
	go func() { _ = s.Serve(l) }() // ends with Close
	t.Cleanup(func() { _ = s.Close() })
	return r
}

func (r *reports) add(one report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	one.at = time.Now()
	r.all[one.As] = append(r.all[one.As], one)
	close(r.changed)
	r.changed = make(chan struct{})
}

// of is what one workload has told so far.
func (r *reports) of(as string) []report {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]report(nil), r.all[as]...)
}

// await waits for the report with a number, counted from 0, of a workload that
// fits ok.
func (r *reports) await(t *testing.T, as string, limit time.Duration, ok func([]report) bool) []report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		r.mu.Lock()
		got, changed := append([]report(nil), r.all[as]...), r.changed
		r.mu.Unlock()
		if ok(got) {
			return got
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%s told %s within %s", as, last(got), limit)
		}
	}
}

func last(got []report) string {
	if len(got) == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%d times, at last %+v,", len(got), got[len(got)-1])
}

// wantToken waits for what a workload tells after the first n reports, and
// checks that each of them is of a token, and whose it is.
func (r *reports) wantToken(t *testing.T, as string, n int, limit time.Duration, clientID string) {
	t.Helper()
	got := r.await(t, as, limit, func(got []report) bool { return len(got) > n })
	if err := allOf(got[n:], clientID); err != nil {
		t.Errorf("%s: %v", as, err)
	}
}

// allOf checks that all reports are of tokens of one identity: a second one that
// is good hides no first one that was not.
func allOf(got []report, clientID string) error {
	for i, one := range got {
		if one.ClientID != clientID || one.Error != "" {
			return fmt.Errorf("report %d of %d is of a token of %q (%s), want %s", i+1, len(got), one.ClientID, one.Error, clientID)
		}
	}
	return nil
}
