// Package token keeps the tokens of one node: what a token is asked for by, a
// source of tokens, and a cache, which is a source over a source.
package token

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
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
	// Credential is what the application proves itself with (types 1 and 2); its
	// Digest is what counts when requests are compared.
	Credential *Credential
	// Capabilities are what the client can do, such as cp1 (claims challenges),
	// in the words of IMDS's parameter xms_cc; empty for most.
	Capabilities string
	// Resource is the App-ID URI that the token is for, verbatim.
	Resource string
	// Refused is the SHA-256, in lower-case hex, of a token that the client says
	// is refused. Cache sets it for its source; it tells no tokens apart.
	Refused string
}

// key is a Request by what tokens are told apart by.
type key struct {
	kind                           v1.IdentityType
	vm                             bool
	resourceID, clientID, objectID string
	authority, tenantID            string
	credential, capabilities       string
	resource                       string
}

func (r *Request) key() key {
	k := key{
		kind: r.Type, vm: r.VM, resourceID: r.ResourceID, clientID: r.ClientID, objectID: r.ObjectID,
		authority: r.Authority, tenantID: r.TenantID, capabilities: r.Capabilities, resource: r.Resource,
	}
	if r.Credential != nil {
		k.credential = r.Credential.Digest
	}
	return k
}

// identity is the key without what one identity can be asked for in many ways.
func (k key) identity() key {
	k.credential, k.capabilities, k.resource = "", "", ""
	return k
}

// managed reports whether the token is a managed identity's.
func (k key) managed() bool { return k.kind == v1.UserAssignedMSI }

// group names the application that a call is for, empty for a managed identity.
func (k key) group() string {
	if k.managed() {
		return ""
	}
	return k.authority + " " + k.tenantID + " " + k.clientID
}

// Credential is what an application proves itself with: a client secret, or a
// certificate with its private key.
type Credential struct {
	// Digest is the SHA-256 of everything below, in hex.
	Digest string
	// ClientSecret is that of type 1.
	ClientSecret Secret
	// Certificate is PKCS#12, or PEM with certificate and private key (type 2).
	Certificate Secret
	// Password opens a PKCS#12; often empty.
	Password Secret
}

// NewCredential makes a Credential and its digest.
func NewCredential(clientSecret, certificate, password string) *Credential {
	h := sha256.New()
	for _, part := range []string{clientSecret, certificate, password} {
		_ = binary.Write(h, binary.BigEndian, uint64(len(part))) // a hash does not fail
		_, _ = io.WriteString(h, part)
	}
	return &Credential{
		Digest:       hex.EncodeToString(h.Sum(nil)),
		ClientSecret: Secret(clientSecret), Certificate: Secret(certificate), Password: Secret(password),
	}
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
	// ObjectID and TenantID are the claims oid and tid of the token, in lower
	// case, where it is a JWT. They are not verified: who issued it is trusted.
	ObjectID, TenantID string
	// Digest tells tokens apart in the audit log; see Cache.
	Digest string
}

// Source gets tokens. Its errors are *Error where it knows the kind.
type Source interface {
	Token(ctx context.Context, r *Request) (Token, error)
}

// Kind says what a failure to get a token means for who asked.
type Kind int

// The kinds of failures.
const (
	Unavailable Kind = iota // the source did not answer, or asked to come back later: ask again
	NotThere                // the source does not know the identity (yet)
	Rejected                // the source understood and refuses; asking again changes nothing
	Busy                    // the asker has too many requests waiting already; the source was not asked
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
