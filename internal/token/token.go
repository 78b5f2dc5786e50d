// Package token keeps the tokens of one node: what a token is asked for by, a
// source of tokens, and a cache, which is a source over a source.
package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	v1 "github.com/podid-io/podid/api/v1"
)

// Request names a token by everything that affects its authority. Two requests
// that are equal get the same token, and only those.
type Request struct {
	// Type says which source answers.
	Type v1.IdentityType
	// ResourceID, ClientID and ObjectID name the identity, in lower case. A
	// request without any of them is refused, unless VM is set.
	ResourceID, ClientID, ObjectID string
	// VM asks for the identity of the VM itself. Only mic may have that.
	VM bool
	// Authority is the Entra host and TenantID the tenant (types 1 and 2).
	Authority, TenantID string
	// Credential is a digest of the secret or certificate (types 1 and 2).
	Credential string
	// Resource is the App-ID URI that the token is for, verbatim.
	Resource string
}

// key is the request as one string, for singleflight.
func (r Request) key() string {
	return fmt.Sprintf("%d %t %q", r.Type, r.VM, []string{r.ResourceID, r.ClientID, r.ObjectID, r.Authority, r.TenantID, r.Credential, r.Resource})
}

// Secret is an access token. It never shows itself in a log.
type Secret string

// LogValue hides the token.
func (Secret) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// String hides the token from fmt.
func (Secret) String() string { return "[redacted]" }

// MarshalText hides the token from JSON.
func (Secret) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// GoString hides the token from fmt.
func (Secret) GoString() string { return "[redacted]" }

// Token is an access token and its times.
type Token struct {
	Value                Secret
	NotBefore, ExpiresOn time.Time
	// ClientID is whose token it is, where the source tells.
	ClientID string
	// Digest tells tokens apart in the audit log; see Cache.
	Digest string
}

// Source gets tokens. Its errors are *Error where it knows the kind.
type Source interface {
	Token(ctx context.Context, r Request) (Token, error)
}

// Kind says what a failure to get a token means for who asked.
type Kind int

// The kinds of failures.
const (
	Unavailable Kind = iota // the source did not answer, or asked to come back later: ask again
	NotThere                // the source does not know the identity (yet)
	Rejected                // the source understood and refuses; asking again changes nothing
)

// Error is a failure of a source.
type Error struct {
	Kind Kind
	// RetryAfter is what the source asked for; zero when it did not.
	RetryAfter time.Duration
	Err        error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf is the kind of err: Unavailable for what carries none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Unavailable
}
