// Package cli is the commands of podid.
package cli

import (
	"github.com/spf13/cobra"

	"github.com/podid-io/podid/internal/cli/demo"
	"github.com/podid-io/podid/internal/telemetry"
)

// ExitError is a status to exit with, when everything has been said already.
type ExitError = demo.ExitError

// New makes the root command.
func New() *cobra.Command {
	root := &cobra.Command{
		Use:           "podid",
		Short:         "Azure identities for Kubernetes pods",
		Version:       telemetry.Version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(demo.New())
	return root
}
