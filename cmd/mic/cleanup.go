package main

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/podid-io/podid/internal/mic"
	"github.com/podid-io/podid/internal/mic/cloudconfig"
	"github.com/podid-io/podid/internal/telemetry"
)

// cleanupCommand is mic cleanup. o is its own.
func (o *options) cleanupCommand(ctx context.Context, stdout io.Writer) *cobra.Command {
	var timeout time.Duration
	var keep, theirs bool
	c := &cobra.Command{
		Use:   "cleanup",
		Short: "Before podid goes: take off the identities that it attached, and delete what it made",
		Long: "Takes off every VM and scale set the identities that podid's records say podid attached, and deletes AzureAssignedIdentities, the records and start-up taints. " +
			"With --keep-identities what was attached stays on the machines, and is nobody's from then on. Refuses while a mic leads. Tells what is left, with the reason, and ends with 1 then. It can be run again.",
		Args: func(c *cobra.Command, args []string) error { return asUsage(cobra.NoArgs(c, args)) },
		RunE: func(*cobra.Command, []string) error {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			return o.cleanup(ctx, keep, theirs, stdout)
		},
	}
	o.addFlags(c.Flags()) // all, so that the command line of a Deployment serves
	for _, name := range []string{
		"coalesce-window", "keep-warm", "drift-interval", "exception-namespaces", "allow-cross-namespace", "metrics-listen", "health-listen", "pprof-listen",
	} {
		o.flags.Lookup(name).Hidden = true // they mean nothing here
	}
	o.flags.DurationVar(&timeout, "timeout", 5*time.Minute, "how long it may take, the time included that it waits for the lease")
	o.flags.BoolVar(&keep, "keep-identities", false, "leave on the machines what podid attached, and forget that it did, such as when Azure cannot be reached; the rest goes")
	o.flags.BoolVar(&theirs, "legacy", false, "delete the AzureAssignedIdentities of AAD Pod Identity too, with their finalizer, and take off what they say that it attached; waits while its MIC leads")
	return c
}

func (o *options) cleanup(ctx context.Context, keep, theirs bool, stdout io.Writer) error {
	if keep && theirs {
		return usageError{errors.New("--keep-identities and --legacy contradict each other: what is written down to be taken off would be forgotten")}
	}
	if err := o.check(); err != nil {
		return usageError{err}
	}
	log, _, err := telemetry.NewLogger(os.Stderr, o.logLevel, o.logFormat)
	if err != nil {
		return usageError{err}
	}
	telemetry.Bridge(log)
	rest, err := o.rest()
	if err != nil {
		return err
	}
	config := mic.Config{
		REST: rest, Namespace: o.namespace, Log: log,
		Immutable: o.immutable, StartupTaints: o.startupTaints, Election: o.election,
	}
	if !keep { // else what says how to reach Azure may be wrong, or gone already
		cloud, err := cloudconfig.Read(o.cloudConfig, o.getenv)
		if err != nil {
			return err
		}
		azure := newMachines(o.userAgent, nil)
		if err := azure.use(cloud); err != nil {
			return err
		}
		config.Machines, config.ClusterIdentity = azure, azure.clusterIdentity
	}
	if theirs {
		if config.LegacyLocks, err = o.locks(); err != nil {
			return usageError{err}
		}
	}
	return mic.Cleanup(ctx, config, keep, theirs, stdout)
}
