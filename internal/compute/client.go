// Package compute reads and changes which managed identities are attached to a
// VM or a scale set. The quirks of Azure Resource Manager end here.
package compute

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"github.com/podid-io/podid/internal/assign"
)

// Config says which cloud a Client talks to, and as whom.
type Config struct {
	Credential azcore.TokenCredential
	Cloud      cloud.Configuration
	// HTTP is the HTTP client; nil means the SDK's own.
	HTTP *http.Client
	// RequestTimeout bounds the wait for the answer to one request. The default is 1m.
	RequestTimeout time.Duration
	// GetTimeout bounds one read, its retries included. The default is 30s.
	GetTimeout time.Duration
	// UpdateTimeout bounds one PATCH until Azure has carried it out. The default
	// is 15m. Of none of the three is the time in which a request waits for its
	// turn, see Client; with that a PATCH takes twice UpdateTimeout at most, and what
	// became of it is not known then.
	UpdateTimeout time.Duration
	// Limits are shared with the clients before this one, and after it. The default
	// is limits of its own.
	Limits *Limits
	// Waited is told how long a request has waited for its turn, and of which
	// buckets: such as vm.get.resource, of a resource each, vmss.update.subscription,
	// or writes.subscription of Resource Manager itself. It is called concurrently.
	// May be nil.
	Waited func(bucket string, d time.Duration)
	// UserAgent is added to the user agent. The default is nothing.
	UserAgent string
}

// Client reads and changes VMs and scale sets. It may be used concurrently. All
// that it asks for keeps within the limits that Azure documents, of a subscription
// within half of them, by waiting.
type Client struct {
	config  Config
	options *arm.ClientOptions

	mu   sync.Mutex
	vms  map[string]*armcompute.VirtualMachinesClient         // by subscription, guarded by mu
	sets map[string]*armcompute.VirtualMachineScaleSetsClient // by subscription, guarded by mu
}

// MaxChanges is how many identities Azure lets one PATCH add and remove.
const MaxChanges = 150

// New makes a client. It calls nobody.
func New(c Config) (*Client, error) {
	if c.Credential == nil {
		return nil, errors.New("a credential for Azure Resource Manager is missing")
	}
	if c.RequestTimeout <= 0 {
		c.RequestTimeout = time.Minute
	}
	if c.GetTimeout <= 0 {
		c.GetTimeout = 30 * time.Second
	}
	if c.UpdateTimeout <= 0 {
		c.UpdateTimeout = 15 * time.Minute
	}
	if c.Limits == nil {
		c.Limits = NewLimits()
	}
	options := &arm.ClientOptions{
		ClientOptions: azcore.ClientOptions{
			Cloud: c.Cloud,
			// 429 is not in the list: how long to stay away is the caller's to know.
			Retry: policy.RetryOptions{StatusCodes: []int{
				http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway,
				http.StatusServiceUnavailable, http.StatusGatewayTimeout,
			}},
			PerRetryPolicies: c.policies(),
			Telemetry:        policy.TelemetryOptions{ApplicationID: "podid-mic"},
		},
		DisableRPRegistration: true,
	}
	if c.UserAgent != "" {
		options.PerCallPolicies = append(options.PerCallPolicies, userAgent(c.UserAgent))
	}
	if c.HTTP != nil {
		options.Transport = c.HTTP
	}
	return &Client{
		config: c, options: options,
		vms:  make(map[string]*armcompute.VirtualMachinesClient),
		sets: make(map[string]*armcompute.VirtualMachineScaleSetsClient),
	}, nil
}

// userAgent is a policy of the SDK's pipeline. The SDK's own way cuts a name off
// after 24 characters.
type userAgent string

// Do adds to the user agent.
func (u userAgent) Do(req *policy.Request) (*http.Response, error) {
	h := req.Raw().Header
	h.Set("User-Agent", strings.TrimSpace(h.Get("User-Agent")+" "+string(u)))
	return req.Next()
}

// State is the identities of a VM or scale set as Azure showed them.
type State struct {
	// ID is the machine's own, in lower case: one that is made anew under the same
	// name has another. Empty where Azure did not show it.
	ID string
	// User holds the ARM ids, in lower case, of the user-assigned identities.
	User map[string]bool
	// ClientIDs are the client ids, in lower case, of those of User of which Azure
	// shows them.
	ClientIDs map[string]string
	// System says that it has a system-assigned identity, which is never touched.
	System bool
	// ETag is the version that was read.
	ETag string
	// Provisioning is the state of the last operation, as Azure writes it.
	Provisioning string
}

// Certain reports whether the machines have what State shows. After an operation
// that failed or was canceled Azure shows what was wanted, not what is.
func (s State) Certain() bool {
	return s.Provisioning == "" || strings.EqualFold(s.Provisioning, "Succeeded")
}

// underway reports whether an operation has not ended yet.
func (s State) underway() bool {
	return !s.Certain() && !strings.EqualFold(s.Provisioning, "Failed") && !strings.EqualFold(s.Provisioning, "Canceled")
}

// Get reads the scope. Errors are *Error. A flexible scale set is refused: only its
// VMs have identities, and a node that names it is wrong about itself. While an operation is under way that
// is a Conflict: what Azure shows then is wanted, and on no machine for certain.
// What is being deleted is NotFound, and not yet Gone.
func (c *Client) Get(ctx context.Context, scope assign.Scope) (State, error) {
	r, err := c.resource(scope)
	if err != nil {
		return State{}, classify(scope, reading, err)
	}
	s, err := timed(ctx, c.config.GetTimeout, r.get)
	if err != nil {
		return State{}, classify(scope, reading, err)
	}
	if strings.EqualFold(s.Provisioning, "Deleting") {
		return State{}, &Error{
			Kind: NotFound, Scope: scope, Doing: reading, Refused: true,
			Reason: "it is being deleted (provisioningState " + s.Provisioning + ")",
		}
	}
	if s.underway() {
		return State{}, &Error{
			Kind: Conflict, Scope: scope, Doing: reading, Refused: true,
			Reason: "another operation is under way (provisioningState " + s.Provisioning + ")",
		}
	}
	return s, nil
}

// Changes says what became of the identities that Update was to attach or
// detach, by ARM id in lower case. What is in neither list may have been changed.
type Changes struct {
	// Done has been carried out, Not has not been, for certain.
	Done, Not []string
}

// Update attaches and detaches identities, by ARM id, in one PATCH, or in
// several where there are more than MaxChanges, and returns when Azure has
// carried it out. What State shows to be so already is left out; when nothing is
// left, nothing is sent. Errors are *Error, and end it; Changes tells, with an
// error too, what has been carried out.
func (c *Client) Update(ctx context.Context, scope assign.Scope, s State, attach, detach []string) (Changes, error) {
	todo, done := s.changes(attach, detach)
	r, err := c.resource(scope)
	if err != nil {
		return Changes{Done: done, Not: idsOf(todo)}, classify(scope, changing, err)
	}
	for batch := range slices.Chunk(todo, MaxChanges) {
		s, err = c.patch(ctx, r, s, batch)
		if err != nil {
			e := classify(scope, changing, err)
			if !e.Refused {
				todo = todo[len(batch):] // nobody knows about these
			}
			return Changes{Done: done, Not: idsOf(todo)}, e
		}
		done = append(done, idsOf(batch)...)
		todo = todo[len(batch):]
	}
	return Changes{Done: done}, nil
}

// patch sends one PATCH. Where somebody else has written meanwhile it looks again,
// and sends it once more if what was to be done is still all to be done: an
// identity that somebody else attached is not to be mistaken for ours.
func (c *Client) patch(ctx context.Context, r resource, s State, batch []change) (State, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*c.config.UpdateTimeout, errTooLong)
	defer cancel()
	if s.ETag == "" { // nothing would refuse the PATCH, whose type is all that is to remain
		fresh, err := timed(ctx, c.config.GetTimeout, r.get)
		if err == nil && s.rewritten(fresh, batch) {
			err = errRewritten
		}
		if err != nil {
			return s, sent{error: err}
		}
		s = fresh
	}
	send := func(ctx context.Context) (State, error) { return r.patch(ctx, s, batch) }
	after, err := timed(ctx, c.config.UpdateTimeout, send)
	if !outdated(err) {
		return after, err
	}
	fresh, readErr := timed(ctx, c.config.GetTimeout, r.get)
	if readErr != nil || !fresh.Certain() || fresh.another(s) || fresh.anyDone(batch) {
		return after, err // the caller reads it again, and decides
	}
	s = fresh
	return timed(ctx, c.config.UpdateTimeout, send)
}

// rewritten reports whether fresh, which was read after s, is of another machine, or
// says that somebody else has done some of what is to be done, or is at work, or has
// failed at it. What was not certain before is sent whatever is shown.
func (s State) rewritten(fresh State, batch []change) bool {
	return fresh.another(s) || fresh.Certain() != s.Certain() || fresh.underway() || fresh.Certain() && fresh.anyDone(batch)
}

// anyDone reports whether one of the changes is shown as made.
func (s State) anyDone(batch []change) bool {
	return slices.ContainsFunc(batch, func(c change) bool { return s.User[c.id] == c.attach })
}

// errRewritten is the error of a PATCH that was not sent.
var errRewritten = errors.New("somebody else is changing it, or has done so meanwhile")

// errTooLong ends a PATCH that waits for turns without end.
var errTooLong = fmt.Errorf("it took longer than mic waits, turns included: %w", context.DeadlineExceeded)

// outdated reports whether a PATCH was refused for its ETag.
func outdated(err error) bool {
	if _, direct := errors.AsType[sent](err); !direct {
		return false
	}
	answer, ok := errors.AsType[*azcore.ResponseError](err)
	return ok && answer.StatusCode == http.StatusPreconditionFailed
}

// change is one identity to be attached or detached.
type change struct {
	id     string
	attach bool
}

func idsOf(changes []change) []string {
	ids := make([]string, 0, len(changes))
	for _, c := range changes {
		ids = append(ids, c.id)
	}
	return ids
}

// changes is what is left to do, attachments first, and the ids for which there
// is nothing to do.
func (s State) changes(attach, detach []string) (todo []change, done []string) {
	add := func(ids []string, attach bool) {
		for _, id := range ids {
			if id = strings.ToLower(id); s.User[id] == attach {
				done = append(done, id)
				continue
			}
			todo = append(todo, change{id, attach})
		}
	}
	add(attach, true)
	add(detach, false)
	return todo, done
}
