// Package explain is the command podid explain: the whole chain from a pod to its
// token, with the first step that is broken and what mends it.
package explain

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/podid-io/podid/internal/cli/cluster"
	"github.com/podid-io/podid/internal/cli/command"
	"github.com/podid-io/podid/internal/cli/exit"
	"github.com/podid-io/podid/internal/explain"
	"github.com/podid-io/podid/internal/identity"
)

// The statuses that the command ends with, beside 0.
const (
	errBroken  = exit.Error(1)
	errWaiting = exit.Error(3)
)

// defaultResource is what a token is asked for where nothing is said: every tenant
// knows it.
const defaultResource = "https://management.azure.com/"

// options are the flags.
type options struct {
	command.Options

	ask    cluster.Question
	file   string
	dryRun bool
}

// New makes the command.
func New(c command.Config) *cobra.Command {
	o := &options{Options: command.NewOptions(c, "text")}
	cmd := &cobra.Command{
		Use:   "explain pod/NAME",
		Short: "Say why a pod gets its token, or why not, and what mends it",
		Long: `Say why a pod gets its token, or why not: the chain from the pod by label, binding,
identity, assignment, node, agent and network to the token, each step with its
evidence, and the first broken one with what mends it.

The agent on the pod's node is asked by exec in its pod, which takes the right
pods/exec in podid's namespace; without it, what only the agent knows is unknown.
The agent gets a token as it would for the pod, and tells its claims, never the
token. With --resource="" it gets none.

With --dry-run -f FILE the pod is read from a manifest, of the pod or of what makes
pods, and need not exist. Nothing is made.

The command ends with status 0 when all is well, with 1 when a step is broken or may
be in the way, with 3 when nothing is broken and something is still on its way, and
with 2 when the command was not understood or it could not be found out.`,
		Example: `  podid explain pod/web -n shop
  podid explain pod/web -n shop --resource https://vault.azure.net -o json
  podid explain --dry-run -f deployment.yaml -n shop`,
		ValidArgsFunction: o.CompletePods,
	}
	f := cmd.Flags()
	f.StringVar(&o.ask.Resource, "resource", defaultResource, "what nmi is to get a token for; empty means that it gets none")
	o.ask.AddFlags(f)
	f.BoolVar(&o.dryRun, "dry-run", false, "explain a pod that does not exist yet, of the manifest that -f names")
	f.StringVarP(&o.file, "filename", "f", "", "manifest of a pod, or of what makes pods; - means standard input")
	o.Bind(cmd, func(c *cobra.Command, args []string) error {
		r, err := o.run(c.Context(), args)
		if err != nil {
			return err
		}
		if err := o.print(o.Screen(c), r); err != nil {
			return err
		}
		return status(r)
	})
	return cmd
}

// status is that of the command.
func status(r *explain.Report) error {
	switch r.Verdict {
	case explain.OK:
		return nil
	case explain.Broken, explain.Warning:
		return errBroken
	case explain.Waiting:
		return errWaiting
	default:
		return command.ErrNotFoundOut
	}
}

// check refuses what makes no sense, and finds the name of the pod.
func (o *options) check(args []string) (pod string, err error) {
	if err := o.ask.Check(); err != nil {
		return "", err
	}
	switch {
	case o.ask.ObjectID != "" && o.ask.Resource == "":
		return "", errors.New("--object-id needs --resource: which identity has an object id shows in its tokens")
	case o.dryRun && o.file == "":
		return "", errors.New("--dry-run needs the manifest of a pod: -f FILE")
	case o.file != "" && !o.dryRun:
		return "", errors.New("-f is for a pod that does not exist yet: add --dry-run")
	case o.dryRun && len(args) > 0:
		return "", fmt.Errorf("argument %q: with --dry-run the manifest names the pod", args[0])
	case o.dryRun:
		return "", nil
	}
	return cluster.PodName(args)
}

// run makes the report.
func (o *options) run(ctx context.Context, args []string) (*explain.Report, error) {
	name, err := o.check(args)
	if err != nil {
		return nil, err
	}
	c, err := o.Open()
	if err != nil {
		return nil, err
	}
	g := &gathering{Cluster: c, facts: &explain.Facts{
		Now: time.Now(), System: c.System, DryRun: o.dryRun, Resource: o.ask.Resource, Unread: map[string]error{}, NoSecrets: map[string]bool{}, UnreadSecrets: map[string]error{},
		Want: identity.Selector{ClientID: strings.ToLower(o.ask.ClientID), ObjectID: strings.ToLower(o.ask.ObjectID), ResourceID: strings.ToLower(o.ask.ResourceID)},
	}, ask: o.ask}
	if o.dryRun {
		err = g.tryPod(ctx, o.file)
	} else {
		var missing *explain.Report
		if missing, err = g.readPod(ctx, name); missing != nil {
			return missing, nil
		}
	}
	if err != nil {
		return nil, err
	}
	g.gather(ctx)
	return explain.Chain(g.facts), nil
}
