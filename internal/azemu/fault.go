package azemu

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// longestBody bounds the body of a request, in bytes.
const longestBody = 4 << 20

// Duration is a time.Duration that JSON writes as text, such as "1.5s".
type Duration time.Duration

// MarshalText writes the form of time.Duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads the form of time.ParseDuration.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// Fault is what goes wrong at an endpoint. Delay comes first; then the request
// hangs, is answered with Status, or, with neither, is served as usual.
type Fault struct {
	// Status is the HTTP status to answer with. 0 serves the request.
	Status int `json:"status,omitempty"`
	// Delay is how long to wait first. A caller who leaves ends it.
	Delay Duration `json:"delay,omitempty"`
	// Hang holds the request until its caller leaves.
	Hang bool `json:"hang,omitempty"`
	// RetryAfter is the header, rounded up to whole seconds. 0 sends none.
	RetryAfter Duration `json:"retryAfter,omitempty"`
	// Code and Message stand in the body. They default to words for Status.
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	// Times is how many requests it concerns. 0 means all until it is removed.
	Times int `json:"times,omitempty"`
}

func (f Fault) code() string {
	return cmp.Or(f.Code, strings.ReplaceAll(http.StatusText(f.Status), " ", ""), "InternalError")
}

func (f Fault) message() string { return cmp.Or(f.Message, "fault set at the emulator") }

// faults are those in force, by endpoint.
type faults struct {
	mu  sync.Mutex // guards set
	set map[string]Fault
}

func newFaults() *faults { return &faults{set: map[string]Fault{}} }

// take returns the fault of an endpoint, and counts it.
func (f *faults) take(endpoint string) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fault, ok := f.set[endpoint]
	switch {
	case !ok:
	case fault.Times == 1:
		delete(f.set, endpoint)
	case fault.Times > 1:
		next := fault
		next.Times--
		f.set[endpoint] = next
	}
	return fault, ok
}

func (f *faults) all() map[string]Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.set)
}

// SetFault puts a fault on an endpoint, in place of the one it has. It fails for
// endpoints that do not exist and faults that make no sense.
func (e *Emulator) SetFault(endpoint string, f Fault) error {
	if !slices.Contains(Endpoints(), endpoint) {
		return fmt.Errorf("endpoint %q is unknown: use one of %s", endpoint, strings.Join(Endpoints(), ", "))
	}
	if f.Status != 0 && (f.Status < 200 || f.Status > 599) || f.Delay < 0 || f.RetryAfter < 0 || f.Times < 0 {
		return fmt.Errorf("fault on %s: want a status of 200 to 599, and no negative delay, retryAfter or times", endpoint)
	}
	e.faults.mu.Lock()
	defer e.faults.mu.Unlock()
	e.faults.set[endpoint] = f
	return nil
}

// ClearFault removes the fault of an endpoint. Requests that it holds go on
// being held.
func (e *Emulator) ClearFault(endpoint string) {
	e.faults.mu.Lock()
	defer e.faults.mu.Unlock()
	delete(e.faults.set, endpoint)
}

// faulty is h with the faults of its endpoint.
func (e *Emulator) faulty(endpoint string, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// The body is read now: net/http notices that a client is gone, which ends
		// a hanging request, only when the body has been read to its end.
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, longestBody))
		if err != nil {
			http.Error(w, "the body of the request cannot be read", http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if f, ok := e.faults.take(endpoint); ok && e.fail(w, r, endpoint, f) {
			return
		}
		h(w, r)
	}
}

// fail does what f says, and reports whether that was the answer.
func (e *Emulator) fail(w http.ResponseWriter, r *http.Request, endpoint string, f Fault) bool {
	e.log.DebugContext(r.Context(), "fault begins", "endpoint", endpoint, "status", f.Status, "delay", time.Duration(f.Delay), "hang", f.Hang)
	if f.Delay > 0 && !e.wait(r.Context(), time.Duration(f.Delay)) {
		return true
	}
	if f.Hang {
		select {
		case <-r.Context().Done():
			return true
		case <-e.closed:
			panic(http.ErrAbortHandler) // cut the connection: nothing was answered
		}
	}
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", seconds(time.Duration(f.RetryAfter)))
	}
	if f.Status == 0 {
		return false
	}
	family, _, _ := strings.Cut(endpoint, ".")
	switch family {
	case "imds":
		writeJSON(w, f.Status, imdsErrorBody{Error: f.code(), Description: f.message()})
	case "entra":
		writeEntraError(w, r, &entraError{status: f.Status, code: f.code(), message: f.message()})
	default:
		writeARMError(w, &armError{f.Status, f.code(), f.message()})
	}
	return true
}

// wait returns true after d, and false as soon as ctx or the emulator ends.
func (e *Emulator) wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-e.closed:
		return false
	}
}
