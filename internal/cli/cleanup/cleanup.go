// Package cleanup is the command podid cleanup: what has to be done before podid
// is uninstalled, so that nothing of it stays behind. The Helm chart runs it
// before a release goes.
package cleanup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/internal/cli/exit"
)

// errLeft is the status where something was left behind, errUsage of bad flags.
const (
	errLeft  = exit.Error(1)
	errUsage = exit.Error(2)
)

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
  3. end nmi on every node, and take the redirect of the metadata address off it.

Pods have no identities from then on, and reach the metadata service of their node.
The Helm chart runs this by itself when a release is uninstalled; run it by hand
before plain manifests are deleted. It can be run again.

The command ends with status 0 when nothing is left, with 1 when something is, which
it names, and with 2 when it was not asked properly.`,
		Example: `  podid cleanup --namespace podid-system          # what would be done
  podid cleanup --namespace podid-system --yes`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.run(c.Context(), c.OutOrStdout()); err != nil {
				_, _ = fmt.Fprintln(c.ErrOrStderr(), "podid cleanup:", err) // nowhere else to say it
				return errLeft
			}
			return nil
		},
	}
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		_, _ = fmt.Fprintln(c.ErrOrStderr(), "podid cleanup:", err) // nowhere else to say it
		return errUsage
	})
	f := cmd.Flags()
	f.BoolVar(&o.yes, "yes", false, "do it, and do not just tell")
	f.BoolVar(&o.keepIdentities, "keep-identities", false, "leave on the machines what podid attached, such as when Azure cannot be reached")
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
		w.say("there is no podid in namespace %s", w.namespace)
		return nil
	}
	if !o.yes {
		w.plan(mics, agents, o.keepIdentities)
		return nil
	}
	var errs []error
	for i := range mics {
		errs = append(errs, w.removeController(ctx, &mics[i], o.keepIdentities))
	}
	for i := range agents { // also where Azure did not play along
		errs = append(errs, w.removeRedirects(ctx, &agents[i]))
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
func (w *work) plan(mics []appsv1.Deployment, agents []appsv1.DaemonSet, keep bool) {
	for i := range mics {
		w.say("would end mic (Deployment %s/%s)", w.namespace, mics[i].Name)
		if !keep {
			w.say("would take off the machines what podid attached (mic cleanup)")
		}
	}
	for i := range agents {
		w.say("would end nmi on %d nodes, and take the redirect off them (DaemonSet %s/%s)", agents[i].Status.DesiredNumberScheduled, w.namespace, agents[i].Name)
	}
	w.say("with --yes it is done")
}

func (w *work) say(format string, args ...any) {
	_, _ = fmt.Fprintf(w.out, format+"\n", args...) // progress is not worth an error
}
