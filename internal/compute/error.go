package compute

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/podid-io/podid/internal/assign"
)

// Kind says what a caller can do about an Error.
type Kind int

// The kinds of Error.
const (
	// Other is everything else: no connection, no token, a fault inside Azure.
	Other Kind = iota
	// Conflict means that somebody else writes or has written: read again.
	Conflict
	// Throttled means that Azure was asked too much: wait RetryAfter.
	Throttled
	// BadIdentity means that an identity does not exist or may not be assigned.
	BadIdentity
	// NotFound means that something on the way is not there: see Gone.
	NotFound
	// Forbidden means that the credential may not do this.
	Forbidden
	// Unsupported means that nodes have no identities by this scope, ever: it is a
	// flexible scale set.
	Unsupported
)

// Error is why a scope could not be read or changed.
type Error struct {
	Kind  Kind
	Scope assign.Scope
	// Doing is the verb: read or change.
	Doing string
	// RetryAfter is how long Azure wants to be left alone; zero when it did not say.
	RetryAfter time.Duration
	// Refused says that the request that failed has changed nothing. Otherwise it
	// may have been carried out nevertheless.
	Refused bool
	// Gone says that the VM or scale set itself does not exist. It is not said of
	// a resource group, a subscription or an operation that is not found.
	Gone bool
	// Lasting says of a Conflict that nobody knows how long it lasts: the quota is
	// used up, or the scope is about to be deleted.
	Lasting bool
	// Identities are the ARM ids, in lower case, of the user-assigned identities
	// that Azure named, in its order; nil where it named none.
	Identities []string
	// Missing are those of Identities of which Azure says that they do not exist. It
	// says less of most that it refuses.
	Missing []string
	// Reason is what Azure, or whoever is in the way, said: one line.
	Reason string
	Err    error

	unauthorized bool // the token itself was refused
	polling      bool // it was asked how far an operation is
}

// Error says what failed, on which scope, and what to do where that is known.
func (e *Error) Error() string {
	if advice := e.Advice(); advice != "" { // first: what Azure says can be long
		return fmt.Sprintf("%s %s: %s (%s)", e.Doing, e.where(), advice, e.Reason)
	}
	return fmt.Sprintf("%s %s: %s", e.Doing, e.where(), e.Reason)
}

// where is the scope, or what is listed: that has no name.
func (e *Error) where() string {
	switch {
	case e.Scope.Name != "":
		return e.Scope.String()
	case e.Scope.Kind == assign.VMSS:
		return "scale sets of resource group " + e.Scope.ResourceGroup
	default:
		return "virtual machines of resource group " + e.Scope.ResourceGroup
	}
}

// Advice is what a person can do about it; empty where that is not known. It
// names an identity where Azure named no other: who waits for one is not told of
// those of others.
func (e *Error) Advice() string {
	switch {
	case e.unauthorized:
		return "its token was refused: check mic's credential, its tenant and the clock"
	case e.Kind == Forbidden && e.polling:
		return "give mic's identity the right Microsoft.Compute/locations/operations/read on subscription " + e.Scope.Subscription
	case e.Kind == Forbidden:
		return fmt.Sprintf("give mic's identity the role Virtual Machine Contributor on resource group %s of subscription %s", e.Scope.ResourceGroup, e.Scope.Subscription)
	case e.Kind == BadIdentity:
		if len(e.Identities) == 1 {
			return "check that the identity exists, and give mic's identity the role Managed Identity Operator on " + e.Identities[0]
		}
		return "check that the identity exists and that mic's identity has the role Managed Identity Operator on it"
	default:
		return ""
	}
}

func (e *Error) Unwrap() error { return e.Err }

// What an Error was doing.
const (
	reading  = "read"
	listing  = "list"
	changing = "change"
)

// sent marks the error of the PATCH itself, as opposed to that of the operation
// that it began.
type sent struct {
	error

	left bool // for Azure
}

func (s sent) Unwrap() error { return s.error }

func classify(scope assign.Scope, doing string, err error) *Error {
	e := &Error{Scope: scope, Doing: doing, Err: err}
	patch, direct := errors.AsType[sent](err)
	e.Refused = direct && !patch.left
	if unsent, ok := errors.AsType[unsentError](err); ok {
		e.Reason = unsent.Error()
		if unsent.after > 0 {
			e.Kind, e.RetryAfter = Throttled, unsent.after
		}
		return e
	}
	if errors.Is(err, errFlexible) || errors.Is(err, errKind) {
		e.Kind, e.Reason, e.Refused = Unsupported, err.Error(), true
		return e
	}
	if errors.Is(err, errRewritten) {
		e.Kind, e.Reason = Conflict, errRewritten.Error()
		return e
	}
	var answer *azcore.ResponseError
	if !errors.As(err, &answer) {
		e.Reason = oneLine(err.Error())
		return e
	}
	e.read(answer, direct)
	return e
}

// read takes up what Azure answered, directly to the request or about the
// operation that it began.
func (e *Error) read(answer *azcore.ResponseError, direct bool) {
	body := bodyOf(answer)
	e.Kind = kind(answer, body)
	e.Lasting = e.Kind == Conflict && !passing(answer)
	e.unauthorized = answer.StatusCode == http.StatusUnauthorized
	e.polling = e.Doing == changing && !direct
	e.Reason, e.Identities = reason(answer, body), body.identities()
	if e.Kind == BadIdentity && answer.ErrorCode == identityOperation {
		e.Missing = body.missing()
	}
	if answer.RawResponse != nil {
		e.RetryAfter, _ = retryAfter(answer.RawResponse.Header, time.Now())
	}
	e.Refused = e.Refused || direct && answer.StatusCode >= 400 && answer.StatusCode < 500 && answer.StatusCode != http.StatusRequestTimeout
	e.Gone = e.Doing == reading && answer.StatusCode == http.StatusNotFound && answer.ErrorCode == "ResourceNotFound"
}

// identityOperation is the code of what the identity service has refused.
const identityOperation = "FailedIdentityOperation"

// kind goes by the code where the status does not say enough: an operation that
// fails answers 200.
func kind(answer *azcore.ResponseError, body errorBody) Kind {
	switch {
	case answer.StatusCode == http.StatusTooManyRequests:
		return Throttled
	case answer.StatusCode >= http.StatusInternalServerError:
		return Other // whatever it concerns, it is not its fault
	}
	if passing(answer) {
		return Conflict
	}
	switch answer.ErrorCode {
	case identityOperation:
		return identityKind(body)
	case "LinkedAuthorizationFailed":
		return BadIdentity
	case "InvalidParameter":
		if body.aboutIdentities() {
			return BadIdentity
		}
		return Other
	case "ResourceNotFound", "ResourceGroupNotFound", "SubscriptionNotFound":
		return NotFound
	case "AuthorizationFailed":
		return Forbidden
	}
	switch answer.StatusCode {
	case http.StatusConflict, http.StatusPreconditionFailed:
		return Conflict
	case http.StatusNotFound:
		return NotFound
	case http.StatusForbidden:
		return Forbidden
	default:
		return Other
	}
}

// passing reports whether Azure says that somebody else is at work, who will have
// done soon.
func passing(answer *azcore.ResponseError) bool {
	switch answer.ErrorCode {
	case "Conflict", "ConflictingConcurrentWriteNotAllowed", "OperationPreempted", "PreconditionFailed",
		"AnotherOperationInProgress", "RetryableErrorDueToAnotherOperation":
		return true
	default:
		return answer.ErrorCode == "" && answer.StatusCode == http.StatusConflict || answer.StatusCode == http.StatusPreconditionFailed
	}
}

// identityKind is what a FailedIdentityOperation is, by the status of the identity
// service that its message tells of. Where it tells of none it is about an identity.
func identityKind(body errorBody) Kind {
	switch body.identityStatus() {
	case "", "badrequest", "notfound", "forbidden", "conflict":
		return BadIdentity
	case "toomanyrequests", "429":
		return Throttled
	default:
		return Other
	}
}

// longestRetryAfter bounds what is believed of a header Retry-After. Azure has
// been seen to ask for 20 minutes.
const longestRetryAfter = 30 * time.Minute

// retryAfter reads the header Retry-After: seconds, or a date. said is false where
// it is neither.
func retryAfter(h http.Header, now time.Time) (wait time.Duration, said bool) {
	text := h.Get("Retry-After")
	if s, err := strconv.Atoi(text); err == nil {
		return time.Duration(min(max(s, 0), int(longestRetryAfter/time.Second))) * time.Second, true
	}
	if t, err := http.ParseTime(text); err == nil {
		return min(max(t.Sub(now), 0), longestRetryAfter), true
	}
	return 0, false
}
