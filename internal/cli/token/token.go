// Package token is the command podid token: whose token a pod would get. It has nmi
// tell the claims of the token. nmi has no way to tell the token itself: an agent
// that gave it to whoever may exec in podid's namespace would be a way around every
// pod's own walls, and the audit log would tell of a pod that never asked. With
// --raw the pod itself asks, which takes the right to exec in that pod.
package token

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/internal/cli/cluster"
	"github.com/podid-io/podid/internal/cli/command"
	"github.com/podid-io/podid/internal/cli/exit"
	"github.com/podid-io/podid/internal/cli/screen"
	"github.com/podid-io/podid/internal/explain"
	"github.com/podid-io/podid/internal/shell"
)

// The statuses that the command ends with, beside 0.
const (
	errRefused = exit.Error(1)
	errWaiting = exit.Error(3)
)

// options are the flags.
type options struct {
	command.Options

	ask       cluster.Question
	inPod     bool
	container string
}

// New makes the command.
func New(c command.Config) *cobra.Command {
	o := &options{Options: command.NewOptions(c, "table")}
	cmd := &cobra.Command{
		Use:   "token pod/NAME --resource RESOURCE",
		Short: "Have nmi get the token of a pod, and print its claims",
		Long: `Have nmi get a token as it would for the pod, and print its claims: whose it is, what
for and until when. nmi is asked by exec in its pod, which takes the right pods/exec
in podid's namespace; the token itself never leaves it.

With --raw the token is printed, and nothing else. It is not nmi that is asked then
but the pod, by exec in one of its containers and with the curl or wget that it has:
that takes the right pods/exec in the pod's namespace, and nmi's audit log tells that
the pod was given a token. Where nmi does not redirect the node's pods, it is the
node's own metadata service that answers: podid explain says whether. Keep the token
as you would keep a password.

The command ends with status 0 with a token, with 1 when nmi refuses, with 3 when it
says that it may not yet, and with 2 when the command was not understood or nmi could
not be asked. podid explain says why.`,
		Example: `  podid token pod/web -n shop --resource https://vault.azure.net
  podid token pod/web -n shop --resource https://storage.azure.com --client-id 22222222-2222-2222-2222-222222222222 -o json
  TOKEN=$(podid token pod/web -n shop --resource https://vault.azure.net --raw)`,
		ValidArgsFunction: o.CompletePods,
	}
	f := cmd.Flags()
	f.StringVar(&o.ask.Resource, "resource", "", "what the token is for, such as https://vault.azure.net")
	f.BoolVar(&o.inPod, "raw", false, "print the token itself, as the pod gets it by its own curl or wget")
	f.StringVarP(&o.container, "container", "c", "", "the container that --raw asks in; without it the one that kubectl exec takes")
	o.ask.AddFlags(f)
	o.Bind(cmd, func(c *cobra.Command, args []string) error {
		if o.inPod {
			return o.raw(c, args)
		}
		a, reached, err := o.run(c.Context(), args)
		if err != nil {
			return err
		}
		return o.show(c, a, reached)
	})
	return cmd
}

// pod reads the pod that is asked about.
func (o *options) pod(ctx context.Context, args []string) (*cluster.Cluster, *corev1.Pod, error) {
	name, err := cluster.PodName(args)
	switch {
	case err != nil:
		return nil, nil, err
	case o.ask.Resource == "":
		return nil, nil, errors.New("--resource is missing: write what the token is for, such as https://vault.azure.net")
	case o.container != "" && !o.inPod:
		return nil, nil, errors.New("--container goes with --raw: without that no container of the pod is asked")
	}
	if err := o.ask.Check(); err != nil {
		return nil, nil, err
	}
	c, err := o.Open()
	if err != nil {
		return nil, nil, err
	}
	var pod corev1.Pod
	if err := c.Get(ctx, client.ObjectKey{Namespace: c.Namespace, Name: name}, &pod); err != nil {
		return nil, nil, fmt.Errorf("read the pod: %w", err)
	}
	if pod.Spec.NodeName == "" {
		return nil, nil, fmt.Errorf("pod %s/%s is on no node yet", pod.Namespace, pod.Name)
	}
	return c, &pod, nil
}

// run asks the agent of the pod's node, and says whether the pod reaches it.
func (o *options) run(ctx context.Context, args []string) (*explain.Answer, explain.Step, error) {
	var none explain.Step
	c, pod, err := o.pod(ctx, args)
	if err != nil {
		return nil, none, err
	}
	agents, err := c.Components(ctx, cluster.Agent, pod.Spec.NodeName)
	if err != nil {
		return nil, none, err
	}
	if len(agents) == 0 {
		return nil, none, fmt.Errorf("no nmi runs on node %s: podid explain pod/%s -n %s says more", pod.Spec.NodeName, pod.Name, pod.Namespace)
	}
	o.ask.Namespace, o.ask.Pod = pod.Namespace, pod.Name
	a, err := c.Explain(ctx, &agents[0], o.ask)
	if err != nil {
		return nil, none, err
	}
	return a, explain.Reached(a, &explain.Facts{Now: time.Now(), System: c.System, Pod: *pod}), nil
}

// told is the output in JSON.
type told struct {
	Pod      string          `json:"pod"`
	Identity string          `json:"identity,omitempty"`
	Resource string          `json:"resource"`
	Claims   *explain.Claims `json:"claims,omitempty"`
	Status   int             `json:"status,omitempty"`
	Error    string          `json:"error,omitempty"`
}

// show prints what nmi answers, and ends with the status of it. A token that the
// pod has no way to is none.
func (o *options) show(c *cobra.Command, a *explain.Answer, reached explain.Step) error {
	s := o.Screen(c)
	pod := o.ask.Namespace + "/" + o.ask.Pod
	says := a.Says
	if a.PodUID == "" {
		says = "nmi on node " + a.Node + " does not know the pod: " + a.Unknown
	}
	if a.Claims != nil && reached.State != explain.OK {
		a.Claims, a.Status, a.Retry, says = nil, 0, reached.State == explain.Waiting, reached.Evidence
	}
	var err error
	switch {
	case o.Output.JSON():
		err = s.JSON(told{Pod: pod, Identity: a.Identity, Resource: o.ask.Resource, Claims: a.Claims, Status: a.Status, Error: says})
	case a.Claims != nil:
		err = o.table(s, a)
	default:
		_, err = fmt.Fprintf(c.ErrOrStderr(), "podid token: %s gets no token: %s\npodid explain pod/%s -n %s says more\n", pod, shell.Printable(says), o.ask.Pod, o.ask.Namespace)
	}
	switch {
	case err != nil:
		return err
	case a.Claims != nil:
		return nil
	case a.Retry:
		return errWaiting
	default:
		return errRefused
	}
}

// table prints the claims, one a line.
func (o *options) table(s *screen.Screen, a *explain.Answer) error {
	t := tabwriter.NewWriter(s, 0, 0, 2, ' ', 0)
	c := a.Claims
	by := a.Identity
	if a.Exception != "" {
		by = "of the node, by AzurePodIdentityException " + a.Exception
	}
	for _, row := range [][2]string{
		{"identity", by},
		{"aud", c.Audience},
		{"appid", c.AppID},
		{"oid", c.ObjectID},
		{"tid", c.TenantID},
		{"xms_mirid", c.ResourceID},
		{"exp", fmt.Sprintf("%s (in %s)", c.Expires.UTC().Format(time.RFC3339), time.Until(c.Expires).Round(time.Minute))},
	} {
		if row[1] != "" {
			_, _ = fmt.Fprintf(t, "%s\t%s\n", row[0], shell.Printable(row[1])) // the screen keeps its error
		}
	}
	_ = t.Flush()
	if c.Opaque {
		s.Printf("The token is no JWT: it says nothing of itself.\n")
	}
	return s.Err()
}
