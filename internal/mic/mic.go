// Package mic is the controller of podid put together: the manager with its
// controllers, leader election, metrics and health.
package mic

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/mic/assignment"
	"github.com/podid-io/podid/internal/mic/legacy"
	"github.com/podid-io/podid/internal/telemetry"
)

// Config says how a controller runs.
type Config struct {
	// REST reaches the API server; its QPS and Burst are for the controllers'
	// writes. The Lease and events have clients of their own.
	REST *rest.Config
	// Machines is Azure. Where it is an assignment.Lister too, it is asked what
	// others changed.
	Machines assignment.Machines
	// Namespace is mic's own: records of what is attached are kept there.
	Namespace string
	// Rules are the operator's choices; see identity.Rules.
	Rules identity.Rules
	// ExceptionNamespaces is where an AzurePodIdentityException counts; "*" is
	// everywhere. The default is kube-system and Namespace.
	ExceptionNamespaces []string
	// StartupTaints are keys of taints that go off a node when its nmi, a pod of
	// Namespace with the labels of taint.AgentLabels, is ready. The default is none.
	StartupTaints []string
	// Window is how long a scope's need for a PATCH waits for others, from the last
	// one that came, and ten times that at most. The default is
	// assignment.DefaultWindow; a negative one is none.
	Window time.Duration
	// KeepWarm is how long an identity that nobody needs any more stays on a VM or
	// scale set. The default is assignment.DefaultKeepWarm; a negative one is not at
	// all.
	KeepWarm time.Duration
	// Retry is how long a VM or scale set is left alone after a failure, and Quarantine
	// an identity that Azure refused: the first time, each is longer after. The
	// defaults are assignment.DefaultRetry and assignment.DefaultQuarantine.
	Retry, Quarantine time.Duration
	// CheckInterval is how often a VM or scale set is looked at wholly. The default
	// is assignment.DefaultCheck.
	CheckInterval time.Duration
	// DriftInterval is the shortest time between two looks whether what was attached
	// is still there; it doubles up to half an hour while nothing changes. The default
	// is 5m; a negative one is never.
	DriftInterval time.Duration
	// Immutable are client ids, in any case, of identities that are never detached.
	// The default is none.
	Immutable []string
	// ClusterIdentity is the client id of the cluster's own identity, as it is now,
	// which is never detached either. Nil, or an empty one, means none.
	ClusterIdentity func() string
	// Waits are of requests to Azure for their turn; see NewWaits. Nil means that
	// nobody measures them.
	Waits *Waits
	// LegacyLocks are Endpoints objects by which AAD Pod Identity's MIC says that it
	// leads; mic does not, while it does. The default is none.
	LegacyLocks []types.NamespacedName
	// Election says how the leader is found.
	Election Election
	// HealthListen, MetricsListen and PprofListen are host:port; empty means no
	// server.
	HealthListen, MetricsListen, PprofListen string
	// Log is the logger, and Level its level, for who wants to set it at
	// HealthListen; nil means nobody.
	Log   *slog.Logger
	Level *slog.LevelVar
}

// Election says how the leader is found, by a Lease.
type Election struct {
	// Namespace of the Lease. The default is Config.Namespace.
	Namespace string
	// Name of the Lease. The default is podid-mic.
	Name string
	// LeaseDuration is how long a Lease counts that is not renewed. The default is 15s.
	LeaseDuration time.Duration
	// RenewDeadline is how long the leader tries to renew it. The default is two
	// thirds of LeaseDuration.
	RenewDeadline time.Duration
	// RetryPeriod is the time between tries. The default is a tenth of
	// RenewDeadline: who stands by looks every 2.2 times that at the latest, twice
	// (when the lease was renewed, and when it ran out), and leads within 20 s of
	// the end of a leader that was killed, with the default LeaseDuration.
	RetryPeriod time.Duration
}

// neverDetached are the client ids of what stays on every machine.
func (c Config) neverDetached() []string {
	ids := slices.Clone(c.Immutable)
	if c.ClusterIdentity == nil {
		return ids
	}
	if id := c.ClusterIdentity(); id != "" {
		ids = append(ids, id)
	}
	return ids
}

// DefaultLease is the default of Election.Name.
const DefaultLease = "podid-mic"

// Readiness checks.
const (
	checkAPI   = "api-server"
	checkAzure = "azure"
	checkLease = "lease"
	checkOther = "aad-pod-identity"
)

// readyMetric shows them.
const readyMetric = "podid_mic_ready"

// Controller is mic, ready to run.
type Controller struct {
	config  Config
	lister  assignment.Lister // nil where Machines is none
	health  *telemetry.Health
	metrics *prometheus.Registry // beside what libraries measure
	legacy  *legacy.Watch
}

// withDefaults is c with the defaults where it says nothing, unless it cannot be.
func (c Config) withDefaults() (Config, error) {
	switch {
	case c.REST == nil:
		return c, errors.New("no API server is given")
	case c.Namespace == "":
		return c, errors.New("mic's own namespace is missing: write --namespace, or set POD_NAMESPACE")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if len(c.ExceptionNamespaces) == 0 {
		c.ExceptionNamespaces = slices.Compact([]string{"kube-system", c.Namespace})
	}
	e := &c.Election
	if e.Namespace == "" {
		e.Namespace = c.Namespace
	}
	if e.Name == "" {
		e.Name = DefaultLease
	}
	if e.LeaseDuration <= 0 {
		e.LeaseDuration = 15 * time.Second
	}
	if e.RenewDeadline <= 0 {
		e.RenewDeadline = e.LeaseDuration * 2 / 3
	}
	if e.RetryPeriod <= 0 {
		e.RetryPeriod = e.RenewDeadline / 10
	}
	if e.LeaseDuration%time.Second != 0 {
		return c, fmt.Errorf("the lease's duration (%s) must be whole seconds", e.LeaseDuration)
	}
	if e.RenewDeadline >= e.LeaseDuration {
		return c, fmt.Errorf("the lease's renew deadline (%s) must be shorter than its duration (%s)", e.RenewDeadline, e.LeaseDuration)
	}
	if e.RetryPeriod*6/5 >= e.RenewDeadline {
		return c, fmt.Errorf("the lease's retry period (%s) must be well shorter than its renew deadline (%s)", e.RetryPeriod, e.RenewDeadline)
	}
	return c, nil
}

// New checks the configuration. It calls nobody.
func New(c Config) (*Controller, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	if c.Machines == nil {
		return nil, errors.New("no client for Azure is given")
	}
	health := telemetry.NewHealth(checkAPI, checkAzure, checkLease, checkOther)
	health.Set(checkAzure, nil) // until a call says otherwise
	metrics := prometheus.NewRegistry()
	health.RegisterMetric(metrics, readyMetric)
	if c.Waits != nil {
		metrics.MustRegister(c.Waits.histogram)
	}
	azure := measure(c.Machines, metrics)
	c.Machines = azure
	m := &Controller{config: c, lister: azure.lister(), health: health, metrics: metrics}
	m.legacy, err = legacy.New(legacy.Config{REST: own(c.REST, 10, 20), Locks: c.LegacyLocks, Report: m.Report(checkOther), Log: c.Log})
	return m, err
}

// Run works until ctx ends; then it returns nil. What is missing at the start
// (the API server, a CRD, a right) turns readiness red and is waited for. Who
// loses the Lease stands by and may lead again. An error means that this process
// cannot go on.
func (c *Controller) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	health := http.NewServeMux()
	c.health.Register(health)
	if c.config.Level != nil {
		telemetry.RegisterLevel(health, c.config.Level, c.config.Log)
	}
	g.Go(func() error { return telemetry.Serve(ctx, "health", c.config.HealthListen, health, c.config.Log) })
	metrics := http.NewServeMux()
	metrics.Handle("GET /metrics", promhttp.HandlerFor(prometheus.Gatherers{ctrlmetrics.Registry, c.metrics}, promhttp.HandlerOpts{}))
	g.Go(func() error { return telemetry.Serve(ctx, "metrics", c.config.MetricsListen, metrics, c.config.Log) })
	if c.config.PprofListen != "" {
		g.Go(func() error {
			return telemetry.Serve(ctx, "profiles", c.config.PprofListen, telemetry.Profiles(), c.config.Log)
		})
	}
	g.Go(func() error { // ends with ctx, or for good with an error
		err := c.awaitAPI(ctx)
		if err == nil {
			err = c.manage(ctx)
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // what is said of our own end helps nobody
		}
		return err
	})
	return g.Wait()
}

// Report is what tells of a readiness check, also of one that others than this
// package make: nil is green. Each change is logged once.
func (c *Controller) Report(check string) func(error) {
	return func(err error) {
		if !c.health.Set(check, err) {
			return
		}
		if err != nil {
			c.config.Log.Warn("not ready", "check", check, "err", err)
			return
		}
		c.config.Log.Info("ready", "check", check)
	}
}
