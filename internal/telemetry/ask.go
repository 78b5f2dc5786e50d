package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

// AskCommands are the commands with which a program asks the one that runs: ready,
// as an exec probe does, and log-level. who is the one that runs, such as "the
// agent that runs on this node"; standard is the default of --health-listen.
func AskCommands(ctx context.Context, who, standard string, stdout io.Writer) []*cobra.Command {
	var listen string
	ready := &cobra.Command{
		Use:   "ready",
		Short: "Ask " + who + " whether it is ready, and why not",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return tell(ctx, stdout, listen, http.MethodGet, "/readyz", "")
		},
	}
	level := &cobra.Command{
		Use:   "log-level LEVEL",
		Short: "Set the log level of " + who + ": debug, info, warn or error",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return tell(ctx, stdout, listen, http.MethodPut, "/log-level", args[0])
		},
	}
	commands := []*cobra.Command{ready, level}
	for _, c := range commands {
		c.Flags().StringVar(&listen, "health-listen", standard, "where it serves /readyz and /log-level")
	}
	return commands
}

// tell asks, and writes the answer to stdout.
func tell(ctx context.Context, stdout io.Writer, listen, method, path, body string) error {
	status, answer, err := Ask(ctx, listen, method, path, body)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return errors.New(strings.TrimSpace(answer))
	}
	_, err = fmt.Fprint(stdout, answer)
	return err
}
