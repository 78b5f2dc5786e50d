package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podid-io/podid/internal/telemetry"
)

// readyCommand asks the running agent whether it is ready, as an exec probe does.
func (o *options) readyCommand(ctx context.Context) *cobra.Command {
	c := &cobra.Command{
		Use:   "ready",
		Short: "Ask the agent that runs on this node whether it is ready, and why not",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return o.ask(ctx, http.MethodGet, "/readyz", "")
		},
	}
	o.addHealthFlag(c)
	return c
}

// logLevelCommand sets the level of the log of the running agent.
func (o *options) logLevelCommand(ctx context.Context) *cobra.Command {
	c := &cobra.Command{
		Use:   "log-level LEVEL",
		Short: "Set the log level of the agent that runs on this node: debug, info, warn or error",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return o.ask(ctx, http.MethodPut, "/log-level", args[0])
		},
	}
	o.addHealthFlag(c)
	return c
}

func (o *options) addHealthFlag(c *cobra.Command) {
	c.Flags().StringVar(&o.healthListen, "health-listen", defaultHealth, "where the agent serves /readyz and /log-level")
}

func (o *options) ask(ctx context.Context, method, path, body string) error {
	status, answer, err := telemetry.Ask(ctx, o.healthListen, method, path, body)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return errors.New(strings.TrimSpace(answer))
	}
	_, err = fmt.Fprint(o.stdout, answer)
	return err
}
