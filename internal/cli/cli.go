// Package cli is the commands of podid.
package cli

import (
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podid-io/podid/internal/cli/cleanup"
	"github.com/podid-io/podid/internal/cli/cluster"
	"github.com/podid-io/podid/internal/cli/command"
	"github.com/podid-io/podid/internal/cli/demo"
	"github.com/podid-io/podid/internal/cli/doctor"
	"github.com/podid-io/podid/internal/cli/exit"
	"github.com/podid-io/podid/internal/cli/explain"
	"github.com/podid-io/podid/internal/cli/roles"
	"github.com/podid-io/podid/internal/cli/status"
	"github.com/podid-io/podid/internal/cli/token"
	"github.com/podid-io/podid/internal/cli/whocan"
	"github.com/podid-io/podid/internal/telemetry"
)

// ExitError is a status to exit with, when everything has been said already.
type ExitError = exit.Error

// Config is what the commands have of their process.
type Config struct {
	// Name is how the program was called; kubectl-podid is how kubectl calls it.
	Name string
	// Getenv reads the environment.
	Getenv func(string) string
	// Ask is how agents are asked; nil means by exec, as kubectl does.
	Ask cluster.Asker
}

// New makes the root command.
func New(c Config) *cobra.Command {
	root := &cobra.Command{
		Use:           "podid",
		Short:         "Azure identities for Kubernetes pods",
		Version:       telemetry.Version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	if strings.HasPrefix(filepath.Base(c.Name), "kubectl-") {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl podid"}
	}
	root.AddCommand(demo.New())
	process := command.Config{Getenv: c.Getenv, Ask: c.Ask}
	for _, command := range []*cobra.Command{
		roles.New(roles.Config{Getenv: c.Getenv}),
		explain.New(process),
		status.New(process),
		cleanup.New(),
		doctor.New(process),
		token.New(process),
		whocan.New(process),
	} {
		command.PreRun = func(*cobra.Command, []string) {
			telemetry.Bridge(slog.New(slog.DiscardHandler)) // what libraries log is for nobody here
		}
		root.AddCommand(command)
	}
	return root
}
