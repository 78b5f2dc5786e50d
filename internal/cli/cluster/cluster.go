// Package cluster is a Kubernetes cluster as the commands of podid look at it: how
// it is reached, where podid's own parts are in it, and how its agents are asked.
package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/pflag"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/explain"
)

// Labels by which podid's own objects are found.
const (
	NameLabel      = "app.kubernetes.io/name"
	ComponentLabel = "app.kubernetes.io/component"
	VersionLabel   = "app.kubernetes.io/version"
	Name           = "podid"
	Agent          = "nmi"
	Controller     = "mic"
)

// timeout is the deadline of a request to the API server, where --request-timeout
// gives none.
const timeout = 30 * time.Second

// page is how many objects one answer of the API server holds.
const page = 500

// Flags say which cluster it is, and where podid is in it.
type Flags struct {
	kube   *genericclioptions.ConfigFlags
	system string
}

// NewFlags makes the flags that kubectl has too.
func NewFlags() *Flags {
	f := &Flags{kube: genericclioptions.NewConfigFlags(true)}
	f.kube.CacheDir = nil // nothing is cached
	return f
}

// Add adds the flags to a command.
func (f *Flags) Add(s *pflag.FlagSet) {
	f.kube.AddFlags(s)
	s.StringVar(&f.system, "podid-namespace", "podid-system", "namespace that podid is installed in")
}

// Cluster is what the flags lead to.
type Cluster struct {
	client.Client

	REST *rest.Config
	// Namespace is the one that was asked for, or that of the context.
	Namespace string
	// System is the namespace that podid is installed in.
	System string
	// Context is the name of the kubeconfig's context.
	Context string

	// Ask is how agents are asked.
	Ask Asker
}

// Open makes the client. ask is how agents are asked; nil means by exec.
func (f *Flags) Open(ask Asker) (*Cluster, error) { return f.open(ask, 0) }

// open makes the client. most is how long a request may take, whatever the flags say;
// 0 means as long as they say.
func (f *Flags) open(ask Asker, most time.Duration) (*Cluster, error) {
	config, err := f.kube.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	config.Timeout = cmp.Or(config.Timeout, timeout)
	if most > 0 {
		config.Timeout = min(config.Timeout, most)
	}
	config.QPS, config.Burst = 50, 100
	config.WarningHandler = rest.NoWarnings{}
	loader := f.kube.ToRawKubeConfigLoader()
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", config.Host, err)
	}
	cluster := &Cluster{Client: c, REST: config, Namespace: namespace, System: f.system, Ask: ask}
	if cluster.Ask == nil {
		cluster.Ask = Exec
	}
	if raw, err := loader.RawConfig(); err == nil {
		cluster.Context = cmp.Or(*f.kube.Context, raw.CurrentContext)
	}
	return cluster, nil
}

// WatchConfig is the way to the cluster for watches, which last: no deadline is set
// on them.
func (c *Cluster) WatchConfig() *rest.Config {
	config := rest.CopyConfig(c.REST)
	config.Timeout = 0
	return config
}

// ListAll lists everything that the options select, page by page.
func (c *Cluster) ListAll(ctx context.Context, list client.ObjectList, each func(), options ...client.ListOption) error {
	for next := ""; ; {
		if err := c.List(ctx, list, append(options, client.Limit(page), client.Continue(next))...); err != nil {
			return err
		}
		each()
		if next = list.GetContinue(); next == "" {
			return nil
		}
	}
}

// Components lists the pods of a part of podid: ready ones first, and of those the
// newest. node narrows it to those on one node.
func (c *Cluster) Components(ctx context.Context, part, node string) ([]corev1.Pod, error) {
	var list corev1.PodList
	var pods []corev1.Pod
	options := []client.ListOption{client.InNamespace(c.System), client.MatchingLabels{NameLabel: Name, ComponentLabel: part}}
	if node != "" {
		options = append(options, client.MatchingFields{"spec.nodeName": node})
	}
	err := c.ListAll(ctx, &list, func() { pods = append(pods, list.Items...) }, options...)
	if err != nil {
		return nil, fmt.Errorf("list the pods of %s: %w", part, err)
	}
	now := time.Now()
	slices.SortStableFunc(pods, func(a, b corev1.Pod) int {
		ra, _ := explain.Readiness(&a, now)
		rb, _ := explain.Readiness(&b, now)
		if ra != rb && ra {
			return -1
		} else if ra != rb {
			return 1
		}
		return b.CreationTimestamp.Compare(a.CreationTimestamp.Time)
	})
	return pods, nil
}

// AgentTemplates are the specs of the pods that nmi's DaemonSets make.
func (c *Cluster) AgentTemplates(ctx context.Context) ([]corev1.PodSpec, error) {
	var list appsv1.DaemonSetList
	var specs []corev1.PodSpec
	err := c.ListAll(ctx, &list, func() {
		for i := range list.Items {
			specs = append(specs, list.Items[i].Spec.Template.Spec)
		}
	}, client.InNamespace(c.System), client.MatchingLabels{NameLabel: Name, ComponentLabel: Agent})
	if err != nil {
		return nil, fmt.Errorf("list the DaemonSets of %s: %w", Agent, err)
	}
	return specs, nil
}

// NarrowOnForbidden lists everywhere, and, where that is not allowed, in one
// namespace alone. narrowed says that it was so.
func (c *Cluster) NarrowOnForbidden(ctx context.Context, list client.ObjectList, namespace string, each func(), options ...client.ListOption) (narrowed bool, err error) {
	err = c.ListAll(ctx, list, each, options...)
	if !apierrors.IsForbidden(err) {
		return false, err
	}
	if c.ListAll(ctx, list, each, append(options, client.InNamespace(namespace))...) == nil {
		return true, nil
	}
	return false, err
}
