package azemu

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
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

// Fault is what goes wrong at an endpoint. Delay comes first, then Before; then
// the request hangs, is cut off, is answered with Status, or, with none of these,
// is served as usual.
type Fault struct {
	// Status is the HTTP status to answer with. 0 serves the request.
	Status int `json:"status,omitempty"`
	// Delay is how long to wait first. A caller who leaves ends it.
	Delay Duration `json:"delay,omitempty"`
	// Before is what somebody else does before the request is looked at. It is
	// left out where it cannot be done.
	Before *Edit `json:"before,omitempty"`
	// Hang holds the request until its caller leaves.
	Hang bool `json:"hang,omitempty"`
	// Cut closes the connection instead of an answer.
	Cut bool `json:"cut,omitempty"`
	// Effect has the request carried out before it hangs, is cut off or is answered
	// with Status: what is lost is the answer.
	Effect bool `json:"effect,omitempty"`
	// RetryAfter is the header, rounded up to whole seconds. 0 sends none.
	RetryAfter Duration `json:"retryAfter,omitempty"`
	// Code and Message stand in the body. They default to words for Status. The
	// number in a message of Entra ID, as in "AADSTS7000222: …", is told apart too.
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	// Carried is how many of its changes an operation that fails has carried out
	// all the same: those that attach first, in the order of the ids. -1 means all.
	Carried int `json:"carried,omitempty"`
	// Named has the message of an operation that fails name the identities that it
	// has not carried out. Code then defaults to FailedIdentityOperation.
	Named bool `json:"named,omitempty"`

	Concerns

	// After is how many of the requests that it concerns are served first.
	After int `json:"after,omitempty"`
	// Times is how many requests it concerns. 0 means all until it is removed.
	Times int `json:"times,omitempty"`
}

func (f Fault) code() string {
	return cmp.Or(f.Code, strings.ReplaceAll(http.StatusText(f.Status), " ", ""), "InternalError")
}

func (f Fault) message() string { return cmp.Or(f.Message, "fault set at the emulator") }

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
		again := func() { r.Body = io.NopCloser(bytes.NewReader(body)) }
		again()
		f, ok := e.faults.take(endpoint, func() asked { return e.askedBy(r, body) })
		if !ok {
			h(w, r)
			return
		}
		e.log.DebugContext(r.Context(), "fault begins", "endpoint", endpoint, "status", f.Status, "delay", time.Duration(f.Delay), "hang", f.Hang)
		if f.Delay > 0 && !e.wait(r.Context(), time.Duration(f.Delay)) {
			return
		}
		if f.Before != nil {
			if err := e.Edit(*f.Before); err != nil {
				e.log.InfoContext(r.Context(), "fault without its edit", "endpoint", endpoint, "err", err)
			}
		}
		if f.Effect {
			h(unheard{}, r)
			again()
		}
		if !e.fail(w, r, endpoint, f) {
			h(w, r)
		}
	}
}

// unheard takes an answer that nobody gets.
type unheard struct{}

func (unheard) Header() http.Header         { return http.Header{} }
func (unheard) Write(b []byte) (int, error) { return len(b), nil }
func (unheard) WriteHeader(int)             {}

// fail answers as f says, and reports whether that was the answer.
func (e *Emulator) fail(w http.ResponseWriter, r *http.Request, endpoint string, f Fault) bool {
	if f.Hang {
		select {
		case <-r.Context().Done():
			return true
		case <-e.closed:
			panic(http.ErrAbortHandler) // cut the connection: nothing was answered
		}
	}
	if f.Cut {
		panic(http.ErrAbortHandler)
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
		writeEntraError(w, r, f.entra())
	default:
		writeARMError(w, &armError{f.Status, f.code(), f.message()})
	}
	return true
}

// entra is the fault as Entra ID puts it.
func (f Fault) entra() *entraError {
	e := &entraError{status: f.Status, code: f.code(), message: f.message()}
	if before, after, found := strings.Cut(e.message, ": "); found {
		if n, err := strconv.Atoi(strings.TrimPrefix(before, "AADSTS")); err == nil {
			e.number, e.message = n, after
		}
	}
	return e
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
