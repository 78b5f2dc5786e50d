// Package cleanup is the command podid cleanup: what has to be done before podid
// is uninstalled, so that nothing of it stays behind. The Helm chart runs it
// before a release goes.
package cleanup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/internal/cli/command"
	"github.com/podid-io/podid/internal/cli/exit"
)

// errLeft is the status where something was left behind.
const errLeft = exit.Error(1)

// options are the flags.
type options struct {
	kube *genericclioptions.ConfigFlags

	yes, keepIdentities bool
	timeout             time.Duration
}

// New makes the command.
func New() *cobra.Command {
	o := &options{kube: genericclioptions.NewConfigFlags(true)}
	o.kube.CacheDir = nil
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "Before podid is uninstalled: take identities off the machines, and the redirect off every node",
		Long: `Do what has to be done before podid is uninstalled:

  1. end mic;
  2. run mic cleanup, with mic's own identity and flags: it takes off the machines
     the identities that podid attached, and deletes what it made;
  3. end nmi on every node of its DaemonSet, and take the redirect of the metadata
     address off it. An agent that ends answers first what it holds: under load this
     takes about a minute.

A node that the DaemonSet selects no longer keeps its redirect until it restarts.

Where 2 fails, or in standard mode mic's Deployment is gone, it stops there, and the
redirect stays up: without it every pod of a node reaches the metadata service of the
node, and gets tokens of all identities that are left on the machine. Three ways leave
identities, and open them so: --keep-identities, which leaves what podid attached, and
has mic, where it is there, forget that it did; managed mode, where nobody takes off
what is on the machines; and what was on the machines before podid, or is never taken
off.

Where mic's Deployment is gone, and this goes on, nobody deletes what mic made, or
takes off what it would have: AzureAssignedIdentities, ConfigMaps podid-scope-* and
start-up taints. It looks for them when the redirect is off, and names them with what
ends them, and nothing of AAD Pod Identity. Who may not look for them, as the chart's
hook may not, is told so.

The Helm chart runs this by itself when a release is uninstalled; run it by hand
before plain manifests are deleted. It can be run again.

The command ends with status 0 when nothing is left but identities by these ways, with
1 when something is, which it names, and with 2 when it was not asked properly. What
may not be looked for counts as left in standard mode, in the run that takes the
redirect off, and not in another one, so that an uninstall can end.`,
		Example: `  podid cleanup --namespace podid-system          # what would be done
  podid cleanup --namespace podid-system --yes`,
		Args: cobra.ArbitraryArgs, // RunE says it in our words, and with our status
		RunE: func(c *cobra.Command, args []string) error {
			if err := command.NoArgs(args); err != nil {
				return command.End(c, err)
			}
			if err := o.run(c.Context(), c.OutOrStdout()); err != nil {
				_, _ = fmt.Fprintln(c.ErrOrStderr(), "podid cleanup:", err) // of several lines; nowhere else to say it
				return errLeft
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.SetFlagErrorFunc(command.End)
	f := cmd.Flags()
	f.BoolVar(&o.yes, "yes", false, "do it, and do not just tell")
	f.BoolVar(&o.keepIdentities, "keep-identities", false, "leave on the machines what podid attached, such as when Azure cannot be reached: every pod of a node can then have tokens of all identities that its machine has")
	f.DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long all of it may take")
	o.kube.AddFlags(f)
	return cmd
}

// work is one run.
type work struct {
	client    client.WithWatch
	core      kubernetes.Interface // for logs
	namespace string
	out       io.Writer
}

// run does it, within the time that it may take.
func (o *options) run(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	w, err := o.connect(out)
	if err != nil {
		return err
	}
	mics, err := w.controllers(ctx)
	if err != nil {
		return err
	}
	agents, err := w.agents(ctx)
	if err != nil {
		return err
	}
	if len(mics)+len(agents) == 0 {
		return w.nothing(ctx, o.yes)
	}
	if len(mics) == 0 && !o.keepIdentities && guards(agents) {
		return fmt.Errorf("there is no Deployment of mic in namespace %s, and nobody else takes off the machines what it attached\n%s", w.namespace, w.ways())
	}
	if !o.yes {
		return w.plan(ctx, mics, agents, o.keepIdentities)
	}
	return w.all(ctx, mics, agents, o.keepIdentities)
}

// all does it. A redirect is what keeps the identities that are left on its machine
// from every pod there, so it goes last, and not where some are left unasked.
func (w *work) all(ctx context.Context, mics []appsv1.Deployment, agents []appsv1.DaemonSet, keep bool) error {
	var errs []error
	for i := range mics {
		errs = append(errs, w.removeController(ctx, &mics[i], keep))
	}
	if err := errors.Join(errs...); err != nil && !keep {
		return fmt.Errorf("%w\n%s", err, w.ways())
	}
	if len(agents) == 0 {
		errs = append(errs, gone{error: fmt.Errorf("there is no DaemonSet of nmi in namespace %s: %s", w.namespace, redirectsStay)})
	}
	if len(mics) == 0 {
		w.say(whatStays)
	}
	standard := guards(agents) // removeRedirects turns them
	for i := range agents {
		errs = append(errs, w.removeRedirects(ctx, &agents[i]))
	}
	if len(mics) == 0 {
		errs = append(errs, w.left(ctx, standard))
	}
	return w.wayOn(append(errs, w.removeTests(ctx, mics, agents))...)
}

// tests are the pods of helm test, which has them stay for their logs: those of the
// releases that are uninstalled, and no others of the namespace.
func (w *work) tests(ctx context.Context, mics []appsv1.Deployment, agents []appsv1.DaemonSet) ([]corev1.Pod, error) {
	const instance = "app.kubernetes.io/instance"
	mine := map[string]bool{}
	for i := range mics {
		mine[mics[i].Labels[instance]] = true
	}
	for i := range agents {
		mine[agents[i].Labels[instance]] = true
	}
	var list corev1.PodList
	if err := w.client.List(ctx, &list, client.InNamespace(w.namespace), labels("test")); err != nil {
		return nil, fmt.Errorf("find the pods of helm test: %w", err)
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return !mine[p.Labels[instance]] }), nil
}

// removeTests deletes the pods of helm test.
func (w *work) removeTests(ctx context.Context, mics []appsv1.Deployment, agents []appsv1.DaemonSet) error {
	pods, err := w.tests(ctx, mics, agents)
	if err != nil {
		return err
	}
	var errs []error
	for i := range pods {
		if err := w.client.Delete(ctx, &pods[i]); client.IgnoreNotFound(err) != nil {
			errs = append(errs, fmt.Errorf("delete what helm test left: %w", err))
		}
	}
	return errors.Join(errs...)
}

// connect finds the API server: that of the kubeconfig, or of the cluster that
// the program runs in.
func (o *options) connect(out io.Writer) (*work, error) {
	loader := o.kube.ToRawKubeConfigLoader()
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	w := &work{out: out}
	if w.namespace, _, err = loader.Namespace(); err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), appsv1.AddToScheme(scheme), batchv1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	if w.client, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", config.Host, err)
	}
	w.core, err = kubernetes.NewForConfig(config)
	return w, err
}

// plan tells what would be done.
func (w *work) plan(ctx context.Context, mics []appsv1.Deployment, agents []appsv1.DaemonSet, keep bool) error {
	tests, err := w.tests(ctx, mics, agents)
	if err != nil {
		return err
	}
	for i := range mics {
		w.say("would end mic (Deployment %s/%s)", w.namespace, mics[i].Name)
		if keep {
			w.say("would delete what mic made, and leave on the machines what podid attached (mic cleanup --keep-identities)")
		} else {
			w.say("would take off the machines what podid attached (mic cleanup)")
		}
	}
	for i := range agents {
		w.say("would end nmi on %d nodes, and take the redirect off them (DaemonSet %s/%s)", agents[i].Status.DesiredNumberScheduled, w.namespace, agents[i].Name)
	}
	if keep || len(mics) == 0 {
		w.say(whatStays)
	}
	for i := range tests {
		w.say("would delete what helm test left (Pod %s/%s)", w.namespace, tests[i].Name)
	}
	w.say("with --yes it is done")
	if len(mics) > 0 {
		return nil
	}
	all, err := w.traces(ctx)
	if said := w.told("and this would be left, since mic is not there; not before the redirect is off:", all, true); said != "" {
		w.say("%s", said)
	}
	return err
}

// whatStays is what is said where identities stay, and the redirect goes.
const whatStays = "identities stay on the machines: without a redirect, every pod of a node can have tokens of all that its machine has"

func (w *work) say(format string, args ...any) {
	_, _ = fmt.Fprintf(w.out, format+"\n", args...) // progress is not worth an error
}
