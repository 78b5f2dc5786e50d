package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/telemetry"
)

// askPatience is how long the running agent may take to explain itself: longer
// than it takes at most.
const askPatience = 28 * time.Second

// explainConfig is what an explanation of this agent has from outside of its server.
func (a *agent) explainConfig(o *options, p parsed, rules identity.Rules) nmi.ExplainConfig {
	return nmi.ExplainConfig{
		Node: o.node, Version: telemetry.Version(), Managed: p.managed, Rules: rules,
		Ready: a.health.Ready, Places: a.view.Places, Survey: a.kernel.Survey,
	}
}

// explainCommand is the command that asks the running agent about a pod. podid
// explain runs it in the agent's own pod.
func explainCommand(ctx context.Context, stdout io.Writer) *cobra.Command {
	var listen, resource string
	var clientID, objectID, resourceID string
	c := &cobra.Command{
		Use:   "explain NAMESPACE/POD",
		Short: "Ask the agent that runs on this node what it knows of a pod, as JSON",
		Long: `Ask the agent that runs on this node what it knows of a pod, as JSON.

With --resource the agent gets a token as it would for the pod, and tells its claims.
It never tells the token.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			namespace, pod, ok := strings.Cut(args[0], "/")
			if !ok || namespace == "" || pod == "" {
				return fmt.Errorf("%q is no pod: write NAMESPACE/POD", args[0])
			}
			if !strings.HasPrefix(listen, "unix:") {
				return fmt.Errorf("--health-listen=%s: the agent explains itself on a Unix socket alone", listen)
			}
			q := url.Values{"namespace": {namespace}, "pod": {pod}}
			for name, value := range map[string]string{"resource": resource, "client_id": clientID, "object_id": objectID, "msi_res_id": resourceID} {
				if value != "" {
					q.Set(name, value)
				}
			}
			return askToExplain(ctx, stdout, listen, nmi.ExplainPath+"?"+q.Encode())
		},
	}
	c.Flags().StringVar(&listen, "health-listen", defaultHealth, "where it serves explanations")
	c.Flags().StringVar(&resource, "resource", "", "get a token for this, and tell its claims; empty means none")
	c.Flags().StringVar(&clientID, "client-id", "", "ask for the identity with this client id, as a pod does by client_id")
	c.Flags().StringVar(&objectID, "object-id", "", "ask for the identity with this object id, as a pod does by object_id")
	c.Flags().StringVar(&resourceID, "resource-id", "", "ask for the identity with this ARM id, as a pod does by msi_res_id")
	return c
}

// askToExplain writes the agent's answer to stdout.
func askToExplain(ctx context.Context, stdout io.Writer, listen, path string) error {
	status, answer, err := telemetry.AskPatiently(ctx, askPatience, listen, http.MethodGet, path, "")
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return errors.New(strings.TrimSpace(answer))
	}
	_, err = fmt.Fprint(stdout, answer)
	return err
}
