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
	"github.com/podid-io/podid/internal/cli/exit"
	"github.com/podid-io/podid/internal/cli/screen"
	"github.com/podid-io/podid/internal/explain"
	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/shell"
)

// The statuses that the command ends with, beside 0.
const (
	errBroken      = exit.Error(1)
	errNotFoundOut = exit.Error(2)
	errWaiting     = exit.Error(3)
)

// defaultResource is what a token is asked for where nothing is said: every tenant
// knows it.
const defaultResource = "https://management.azure.com/"

// Config is what the command has of its process.
type Config struct {
	// Getenv reads the environment.
	Getenv func(string) string
	// Ask is how agents are asked; nil means by exec, as kubectl does.
	Ask cluster.Asker
}

// options are the flags.
type options struct {
	Config

	kube                           *cluster.Flags
	resource, output, file         string
	clientID, objectID, resourceID string
	dryRun                         bool
}

// New makes the command.
func New(c Config) *cobra.Command {
	o := &options{Config: c, kube: cluster.NewFlags()}
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
		Args:          cobra.ArbitraryArgs, // check says it in our words, and with our status
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(c *cobra.Command, args []string) error {
			r, err := o.run(c.Context(), args)
			if err == nil {
				err = o.print(screen.New(c.OutOrStdout(), o.Getenv), r)
			}
			if err != nil {
				return tell(c, err)
			}
			return status(r)
		},
		ValidArgsFunction: o.complete,
	}
	cmd.SetFlagErrorFunc(tell)
	f := cmd.Flags()
	f.StringVar(&o.resource, "resource", defaultResource, "what nmi is to get a token for; empty means that it gets none")
	f.StringVar(&o.clientID, "client-id", "", "ask for the identity with this client id, as the pod's client does")
	f.StringVar(&o.objectID, "object-id", "", "ask for the identity with this object id")
	f.StringVar(&o.resourceID, "resource-id", "", "ask for the identity with this ARM id")
	f.BoolVar(&o.dryRun, "dry-run", false, "explain a pod that does not exist yet, of the manifest that -f names")
	f.StringVarP(&o.file, "filename", "f", "", "manifest of a pod, or of what makes pods; - means standard input")
	f.StringVarP(&o.output, "output", "o", "text", "text or json")
	o.kube.Add(f)
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	return cmd
}

// tell says what is wrong, and makes the status of it.
func tell(c *cobra.Command, err error) error {
	_, _ = fmt.Fprintln(c.ErrOrStderr(), "podid explain:", shell.Printable(err.Error())) // nowhere else to say it
	return errNotFoundOut
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
		return errNotFoundOut
	}
}

// check refuses what makes no sense, and finds the name of the pod.
func (o *options) check(args []string) (pod string, err error) {
	named := 0
	for _, v := range []string{o.clientID, o.objectID, o.resourceID} {
		if v != "" {
			named++
		}
	}
	switch {
	case o.output != "text" && o.output != "json":
		return "", fmt.Errorf("--output=%s: write text or json", o.output)
	case named > 1:
		return "", errors.New("write one of --client-id, --object-id and --resource-id: a request names one identity")
	case o.objectID != "" && o.resource == "":
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
	c, err := o.kube.Open(o.Ask)
	if err != nil {
		return nil, err
	}
	g := &gathering{Cluster: c, facts: &explain.Facts{
		Now: time.Now(), System: c.System, DryRun: o.dryRun, Resource: o.resource, Unread: map[string]error{}, NoSecrets: map[string]bool{},
		Want: identity.Selector{ClientID: strings.ToLower(o.clientID), ObjectID: strings.ToLower(o.objectID), ResourceID: strings.ToLower(o.resourceID)},
	}, ask: cluster.Question{Resource: o.resource, ClientID: o.clientID, ObjectID: o.objectID, ResourceID: o.resourceID}}
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

// complete offers the pods of the namespace.
func (o *options) complete(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return o.kube.CompletePods(c.Context()), cobra.ShellCompDirectiveNoFileComp
}
