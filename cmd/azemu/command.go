package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/telemetry"
)

// flags are those that need work before they are a ServeConfig.
type flags struct {
	stateFile, logLevel string
}

func command(ctx context.Context) *cobra.Command {
	var config azemu.ServeConfig
	var f flags
	c := &cobra.Command{
		Use:   "azemu",
		Short: "Emulate the Azure endpoints that podid touches",
		Long: "azemu emulates Azure Resource Manager and Entra ID on one TLS listener, the\n" +
			"instance metadata service of each machine, and an admin API to seed state, read\n" +
			"counters and set faults. It prints its URLs as one line of JSON when it listens.\n" +
			"It is for tests and demos: the admin API asks nobody for a password.",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.complete(&config); err != nil {
				return err
			}
			log, _, err := telemetry.NewLogger(c.ErrOrStderr(), f.logLevel, "text")
			if err != nil {
				return err
			}
			config.Log, config.Out = log, c.OutOrStdout()
			return azemu.Serve(ctx, config)
		},
	}
	bind(c, &config, &f)
	return c
}

func bind(c *cobra.Command, config *azemu.ServeConfig, f *flags) {
	fs := c.Flags()
	fs.SortFlags = false
	fs.StringVar(&config.Listen, "listen", "127.0.0.1:8443", "address of Resource Manager and Entra ID, with TLS (port 0: a free one)")
	fs.StringVar(&config.AdminListen, "admin-listen", "127.0.0.1:8444", "address of the admin API, plain HTTP, open to whoever reaches it")
	fs.StringVar(&config.IMDSListen, "imds-listen", "", "address of the metadata service that knows machines by the caller's address, such as 169.254.169.254:80 (empty: none)")
	fs.StringToStringVar(&config.IMDSMachines, "imds-machine", nil, "MACHINE=ADDRESS: a metadata service that answers as this machine, whoever asks (repeatable)")
	fs.StringVar(&f.stateFile, "state", "", "file with the state to begin with, in the JSON of the admin API (empty: nothing)")
	fs.StringVar(&config.Tenant, "tenant", "", "id of the tenant (empty: the state's, else "+azemu.DefaultTenant+")")
	fs.DurationVar(&config.ARMDelay, "arm-delay", 0, "how long an identity PATCH takes to reach the machines (0: done at once)")
	fs.DurationVar(&config.RetryAfter, "retry-after", 0, "what pollers are told to wait, in whole seconds (0: 1s)")
	fs.DurationVar(&config.TokenLifetime, "token-lifetime", 0, "lifetime of managed identities' tokens (0: 24h)")
	fs.DurationVar(&config.TokenRenewal, "token-renewal", 0, "age from which a managed identity gets a new token (0: half of its lifetime)")
	fs.DurationVar(&config.AppTokenLifetime, "app-token-lifetime", 0, "lifetime of apps' tokens (0: 1h)")
	fs.BoolVar(&config.IMDSLimits, "imds-limits", false, "refuse more than 20 requests of a machine about identity in any second, or 5 at once, and more than 5 for other metadata")
	fs.BoolVar(&config.ARMLimits, "arm-limits", false, "refuse requests to Resource Manager above the limits that Azure documents, for each resource and each subscription")
	fs.BoolVar(&config.EnforceRoles, "enforce-roles", false, "refuse what the caller's roles, by roleAssignments of the state, do not allow")
	fs.StringSliceVar(&config.Hosts, "host", nil, "IP address or DNS name of the server certificate, beside localhost (repeatable)")
	fs.StringVar(&config.CAFile, "ca-file", "", "file to write the certificate authority to, in PEM (empty: none)")
	fs.StringVar(&config.ReadyFile, "ready-file", "", "file to write the URLs to, in JSON, when everything listens (empty: none)")
	fs.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
}

// complete reads the state file and checks what flags cannot say alone.
func (f *flags) complete(c *azemu.ServeConfig) error {
	if c.Listen == "" || c.AdminListen == "" {
		return errors.New("--listen and --admin-listen need an address")
	}
	for name, d := range map[string]int64{
		"arm-delay": int64(c.ARMDelay), "retry-after": int64(c.RetryAfter), "token-lifetime": int64(c.TokenLifetime),
		"token-renewal": int64(c.TokenRenewal), "app-token-lifetime": int64(c.AppTokenLifetime),
	} {
		if d < 0 {
			return fmt.Errorf("--%s is negative", name)
		}
	}
	if f.stateFile == "" {
		return nil
	}
	file, err := os.Open(f.stateFile)
	if err != nil {
		return fmt.Errorf("--state: %w", err)
	}
	defer func() { _ = file.Close() }() // was only read
	d := json.NewDecoder(file)
	d.DisallowUnknownFields()
	if err := d.Decode(&c.Seed); err != nil {
		return fmt.Errorf("--state %s: %w", f.stateFile, err)
	}
	return nil
}
