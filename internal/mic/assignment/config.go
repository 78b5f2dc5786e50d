package assignment

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/compute"
	"github.com/podid-io/podid/internal/identity"
)

// Machines reads and changes the identities of VMs and scale sets. Errors are
// *compute.Error.
type Machines interface {
	Get(ctx context.Context, scope assign.Scope) (compute.State, error)
	Update(ctx context.Context, scope assign.Scope, s compute.State, attach, detach []string) (compute.Changes, error)
}

// Lister reads all VMs, or all scale sets, of a resource group at once.
type Lister interface {
	List(ctx context.Context, kind assign.Kind, subscription, resourceGroup string) (map[assign.Scope]compute.State, error)
}

// Status is told how it stands with an identity on a scope, when that is new:
// a reason, one word, and what is wrong, or both empty. It does not block.
type Status interface {
	Tell(scope assign.Scope, identity types.NamespacedName, reason, problem string)
	// TellAdvance is the same for a binding whose identity is to be on the scope
	// before any pod, and ForgetAdvance that it is not any more, or not after all.
	TellAdvance(scope assign.Scope, binding types.NamespacedName, reason, problem string)
	ForgetAdvance(scope assign.Scope, binding types.NamespacedName)
}

// Config says what the controller works with.
type Config struct {
	// Cache reads what is watched. The objects in it are shared: see Options.
	Cache client.Reader
	// Live reads from the API server itself.
	Live client.Reader
	// Writer writes.
	Writer client.Writer
	// Machines is Azure.
	Machines Machines
	// Recorder tells users what became of their pods.
	Recorder events.EventRecorder
	// Lister reads many scopes at once, to see what others changed; nil where nothing
	// can.
	Lister Lister
	// Status shows users what became of their identities. May be nil.
	Status Status
	// Namespace is where the records of scopes are kept.
	Namespace string
	// Rules are the operator's choices; see identity.Rules.
	Rules identity.Rules
	// Window is how long a scope's need for a PATCH waits for others, from the last
	// one that came, and ten times that at most. The default is DefaultWindow; a
	// negative one is none.
	Window time.Duration
	// KeepWarm is how long an identity that nobody needs any more stays on a
	// machine. The default is DefaultKeepWarm; a negative one is not at all.
	KeepWarm time.Duration
	// Retry is how long a scope is left alone after a failure. It is twice as long
	// after each further one, up to 120 times. The default is DefaultRetry.
	Retry time.Duration
	// Quarantine is how long an identity that Azure refused is left alone. It is twice
	// as long each time, up to 30 times. The default is DefaultQuarantine.
	Quarantine time.Duration
	// Immutable are client ids, in any case, of identities that are never detached,
	// whoever attached them, as it is now. Nil means none.
	Immutable func() []string
	// Drift is how often Azure is asked whether what was attached is still there,
	// by Lister. While nothing changes that grows to half an hour.
	// The default is DefaultDrift; a negative one is not at all.
	Drift time.Duration
	// Check is how often a scope is looked at wholly, to see whether events have
	// told all. The default is DefaultCheck.
	Check time.Duration
	// Metrics is where metrics are registered. The default is nowhere.
	Metrics prometheus.Registerer
	// ReportAzure is told why Azure could not be asked or would not, and nil when
	// it did. May be nil.
	ReportAzure func(error)
	// Log is the logger.
	Log *slog.Logger
}

const (
	// DefaultWindow is the default of Config.Window.
	DefaultWindow = 500 * time.Millisecond
	// DefaultKeepWarm is the default of Config.KeepWarm.
	DefaultKeepWarm = 5 * time.Minute
	// DefaultRetry is the default of Config.Retry.
	DefaultRetry = time.Second
	// DefaultQuarantine is the default of Config.Quarantine.
	DefaultQuarantine = 30 * time.Second
	// DefaultDrift is the default of Config.Drift.
	DefaultDrift = 5 * time.Minute
	// DefaultCheck is the default of Config.Check.
	DefaultCheck = time.Hour
	// parallelWrites is how many objects of one scope are written at once.
	parallelWrites = 20
	// parallelScopes is how many scopes are reconciled at once.
	parallelScopes = 50
)

// withDefaults is c with the defaults where it says nothing.
func (c Config) withDefaults() Config {
	if c.Window == 0 {
		c.Window = DefaultWindow
	}
	if c.KeepWarm == 0 {
		c.KeepWarm = DefaultKeepWarm
	}
	if c.Retry <= 0 {
		c.Retry = DefaultRetry
	}
	if c.Quarantine <= 0 {
		c.Quarantine = DefaultQuarantine
	}
	if c.Drift == 0 {
		c.Drift = DefaultDrift
	}
	if c.Check <= 0 {
		c.Check = DefaultCheck
	}
	if c.Immutable == nil {
		c.Immutable = func() []string { return nil }
	}
	if c.ReportAzure == nil {
		c.ReportAzure = func(error) {}
	}
	return c
}
