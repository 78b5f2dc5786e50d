package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sync/errgroup"

	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/mic"
	"github.com/podid-io/podid/internal/mic/cloudconfig"
	"github.com/podid-io/podid/internal/telemetry"
)

// gcPercent is how much garbage there may be for what is in use. What mic holds is
// large, in a large cluster, and what it does with it is little: half of Go's own
// choice costs next to nothing.
const gcPercent = 50

// run makes a controller and runs it until ctx ends.
func (o *options) run(ctx context.Context) error {
	if err := o.check(); err != nil {
		return usageError{err}
	}
	if o.pprofListen == "" {
		runtime.MemProfileRate = 0 // who nobody can ask for a profile of memory need not keep one in it
	}
	if o.getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	log, level, err := telemetry.NewLogger(os.Stderr, o.logLevel, o.logFormat)
	if err != nil {
		return usageError{err}
	}
	telemetry.Bridge(log)
	rest, err := o.rest()
	if err != nil {
		return err
	}
	cloud, err := cloudconfig.Read(o.cloudConfig, o.getenv)
	if err != nil {
		return err
	}
	waits := mic.NewWaits()
	azure := newMachines(o.userAgent, waits.Observe)
	if err := azure.use(cloud); err != nil {
		return err
	}
	locks, err := o.locks()
	if err != nil {
		return usageError{err}
	}
	c, err := mic.New(mic.Config{
		REST: rest, Machines: azure, Namespace: o.namespace, Log: log, Level: level,
		Rules:               identity.Rules{AcrossNamespaces: o.acrossNamespaces},
		ExceptionNamespaces: o.exceptionNamespaces, StartupTaints: o.startupTaints,
		Window: orNone(o.window), KeepWarm: orNone(o.keepWarm), DriftInterval: orNone(o.driftInterval),
		Immutable: o.immutable, ClusterIdentity: azure.clusterIdentity, Waits: waits,
		LegacyLocks: locks, Election: o.election,
		HealthListen: o.healthListen, MetricsListen: o.metricsListen, PprofListen: o.pprofListen,
	})
	if err != nil {
		return usageError{err}
	}
	watcher := cloudconfig.NewWatcher(cloudconfig.WatcherConfig{
		Path: o.cloudConfig, Getenv: o.getenv, Now: cloud, Report: c.Report("cloud-config"), Log: log,
		Apply: azure.use,
	})
	log.InfoContext(ctx, "mic starts", "version", telemetry.Version(), "namespace", o.namespace)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return watcher.Run(ctx) }) // ends with ctx
	g.Go(func() error { return c.Run(ctx) })       // ends with ctx, or for good with an error
	return g.Wait()
}
