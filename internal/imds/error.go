package imds

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Kind says what went wrong, apart from any wire. Only this package turns a
// kind into an HTTP status.
type Kind int

// The kinds of errors, each with the status that it becomes.
const (
	Internal         Kind = iota // 500: a fault of ours
	BadRequest                   // 400: the request cannot be understood
	Denied                       // 400 "Identity not found": final, never for what may change by itself
	NotReady                     // 404: not yet; the one status that every retrying client retries
	NoSuchPath                   // 404: no such path
	Forbidden                    // 403: a path that exists and that pods may not have
	MethodNotAllowed             // 405
	Overloaded                   // 429, with Retry-After
	Unavailable                  // 503: what answers stands behind us and does not answer
)

// Description of every final denial. .NET matches this text.
const identityNotFound = "Identity not found"

// Error is an error with a kind. Description is sent to the client; Err is not.
type Error struct {
	Kind        Kind
	Description string
	RetryAfter  time.Duration // sent when positive, rounded up to whole seconds
	Err         error
}

// Errorf makes an Error whose description is formatted.
func Errorf(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Description: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Description + ": " + e.Err.Error()
	}
	return e.Description
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// wire is the status and the error code of each kind: the one table.
func (k Kind) wire() (status int, code string) {
	switch k {
	case BadRequest, Denied:
		return http.StatusBadRequest, "invalid_request"
	case NotReady, NoSuchPath:
		return http.StatusNotFound, "not_found"
	case Forbidden:
		return http.StatusForbidden, "access_denied"
	case MethodNotAllowed:
		return http.StatusMethodNotAllowed, "invalid_request"
	case Overloaded:
		return http.StatusTooManyRequests, "too_many_requests"
	case Unavailable:
		return http.StatusServiceUnavailable, "temporarily_unavailable"
	case Internal:
		return http.StatusInternalServerError, "server_error"
	default:
		return http.StatusInternalServerError, "server_error"
	}
}

// Status is the HTTP status that WriteError chooses for err.
func Status(err error) int {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Kind: Internal}
	}
	status, _ := e.Kind.wire()
	return status
}

type errorBody struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// WriteError answers with err in the shape of IMDS: JSON with error and
// error_description. An error without a kind becomes 500 without its text.
func WriteError(w http.ResponseWriter, err error) {
	var e *Error
	if !errors.As(err, &e) {
		e = Errorf(Internal, "internal error")
	}
	status, code := e.Kind.wire()
	description := e.Description
	if e.Kind == Denied {
		description = identityNotFound
		if e.Description != "" {
			description += ": " + e.Description
		}
	}
	if e.RetryAfter > 0 {
		seconds := int64((e.RetryAfter + time.Second - 1) / time.Second)
		w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
	body, _ := json.Marshal(errorBody{Error: code, Description: description}) // two strings cannot fail
	writeJSON(w, status, body)
}
