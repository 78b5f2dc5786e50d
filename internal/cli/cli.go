// Package cli is the commands of podid.
package cli

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/podid-io/podid/internal/cli/cleanup"
	"github.com/podid-io/podid/internal/cli/demo"
	"github.com/podid-io/podid/internal/cli/exit"
	"github.com/podid-io/podid/internal/cli/roles"
	"github.com/podid-io/podid/internal/telemetry"
)

// ExitError is a status to exit with, when everything has been said already.
type ExitError = exit.Error

// New makes the root command.
func New() *cobra.Command {
	root := &cobra.Command{
		Use:           "podid",
		Short:         "Azure identities for Kubernetes pods",
		Version:       telemetry.Version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	check := roles.New(roles.Config{Getenv: os.Getenv})
	check.PreRun = func(*cobra.Command, []string) {
		telemetry.Bridge(slog.New(slog.DiscardHandler)) // what libraries log is for nobody here
	}
	root.AddCommand(demo.New(), check, cleanup.New())
	return root
}
