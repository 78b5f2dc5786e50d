// Package compute reads and changes which managed identities are attached to a
// VM or a scale set. The quirks of Azure Resource Manager end here.
package compute

import (
	"context"
	"errors"
	"net/http"
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
	// GetTimeout bounds one read, its retries included. The default is 30s.
	GetTimeout time.Duration
	// UpdateTimeout bounds one change until Azure has carried it out. The default
	// is 15m.
	UpdateTimeout time.Duration
}

// Client reads and changes VMs and scale sets. It may be used concurrently.
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
	if c.GetTimeout <= 0 {
		c.GetTimeout = 30 * time.Second
	}
	if c.UpdateTimeout <= 0 {
		c.UpdateTimeout = 15 * time.Minute
	}
	options := &arm.ClientOptions{
		ClientOptions: azcore.ClientOptions{
			Cloud: c.Cloud,
			// 429 is not in the list: how long to stay away is the caller's to know.
			Retry: policy.RetryOptions{StatusCodes: []int{
				http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway,
				http.StatusServiceUnavailable, http.StatusGatewayTimeout,
			}},
			Telemetry: policy.TelemetryOptions{ApplicationID: "podid-mic"},
		},
		DisableRPRegistration: true,
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

// State is the identities of a VM or scale set as Azure showed them.
type State struct {
	// User holds the ARM ids, in lower case, of the user-assigned identities.
	User map[string]bool
	// System says that it has a system-assigned identity, which is never touched.
	System bool
	// ETag is the version that was read.
	ETag string
}

// Get reads the scope. Errors are *Error.
func (c *Client) Get(ctx context.Context, scope assign.Scope) (State, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.GetTimeout)
	defer cancel()
	r, err := c.resource(scope)
	if err != nil {
		return State{}, classify(scope, "read", err)
	}
	s, err := r.get(ctx)
	if err != nil {
		return State{}, classify(scope, "read", err)
	}
	return s, nil
}

// Update attaches and detaches identities, by ARM id, in one PATCH, or in
// several where there are more than MaxChanges, and returns when Azure has
// carried it out. What State shows to be so already is left out; when nothing is
// left, nothing is sent. Errors are *Error; of several PATCHes, those before the
// failure have been carried out.
func (c *Client) Update(ctx context.Context, scope assign.Scope, s State, attach, detach []string) error {
	ctx, cancel := context.WithTimeout(ctx, c.config.UpdateTimeout)
	defer cancel()
	r, err := c.resource(scope)
	if err != nil {
		return classify(scope, "change", err)
	}
	for first, rest := true, s.changes(attach, detach); len(rest) > 0; first = false {
		n := min(len(rest), MaxChanges)
		s, err = r.patch(ctx, s, rest[:n])
		if err != nil {
			e := classify(scope, "change", err)
			e.Refused = e.Refused && first
			return e
		}
		rest = rest[n:]
	}
	return nil
}

// change is one identity to be attached or detached.
type change struct {
	id     string
	attach bool
}

// changes is what is left to do, attachments first.
func (s State) changes(attach, detach []string) []change {
	var out []change
	for _, id := range attach {
		if id = strings.ToLower(id); !s.User[id] {
			out = append(out, change{id, true})
		}
	}
	for _, id := range detach {
		if id = strings.ToLower(id); s.User[id] {
			out = append(out, change{id, false})
		}
	}
	return out
}
