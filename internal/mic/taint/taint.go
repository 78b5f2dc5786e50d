// Package taint takes the start-up taint off nodes whose agent is ready.
package taint

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/podid-io/podid/internal/taint"
)

// AgentLabels are those by which the pods of nmi are known.
func AgentLabels() labels.Set {
	return labels.Set{"app.kubernetes.io/name": "podid", "app.kubernetes.io/component": "nmi"}
}

// Config says which taints go when.
type Config struct {
	// Keys of the taints.
	Keys []string
	// Namespace of nmi's pods. Only there its labels are believed.
	Namespace string
	Log       *slog.Logger
}

// indexNode is the index of agents by node.
const indexNode = "spec.nodeName"

// Add adds the controller to a manager.
func Add(ctx context.Context, m manager.Manager, c Config) error {
	nodes, err := corev1client.NewForConfig(m.GetConfig())
	if err != nil {
		return fmt.Errorf("make a client for nodes: %w", err)
	}
	// A cache of its own: of other pods than the assignment's, with other fields.
	seen, err := cache.New(m.GetConfig(), cache.Options{
		Scheme:                      m.GetScheme(),
		ReaderFailOnMissingInformer: true,
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Pod{}: {
				Namespaces: map[string]cache.Config{c.Namespace: {}},
				Label:      labels.SelectorFromSet(AgentLabels()),
				Field:      fields.Everything(),
				Transform:  stripPod,
			},
			&corev1.Node{}: {Transform: stripNode},
		},
	})
	if err != nil {
		return fmt.Errorf("make a cache of agents and nodes: %w", err)
	}
	if err := seen.IndexField(ctx, &corev1.Pod{}, indexNode, func(o client.Object) []string {
		if p, ok := o.(*corev1.Pod); ok {
			return []string{p.Spec.NodeName}
		}
		return nil
	}); err != nil {
		return err
	}
	if err := m.Add(seen); err != nil {
		return err
	}
	r := &reconciler{config: c, seen: seen, nodes: nodes.Nodes()}
	ctl, err := controller.New("startup-taint", m, controller.Options{Reconciler: r})
	if err != nil {
		return fmt.Errorf("make the controller of start-up taints: %w", err)
	}
	if err := ctl.Watch(source.Kind(seen, client.Object(&corev1.Node{}), &handler.EnqueueRequestForObject{})); err != nil {
		return err
	}
	return ctl.Watch(source.Kind(seen, client.Object(&corev1.Pod{}), handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		if p, ok := o.(*corev1.Pod); ok && p.Spec.NodeName != "" {
			return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: p.Spec.NodeName}}}
		}
		return nil
	})))
}

type reconciler struct {
	config Config
	seen   client.Reader
	nodes  taint.Nodes
}

// Reconcile takes the taints off one node, if its agent is ready.
func (r *reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var node corev1.Node
	if err := r.seen.Get(ctx, req.NamespacedName, &node); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !taint.Has(node.Spec.Taints, r.config.Keys) {
		return reconcile.Result{}, nil
	}
	var agents corev1.PodList
	if err := r.seen.List(ctx, &agents, client.InNamespace(r.config.Namespace), client.MatchingFields{indexNode: node.Name}); err != nil {
		return reconcile.Result{}, err
	}
	for i := range agents.Items {
		if !ready(&agents.Items[i], node.CreationTimestamp) {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
		done, err := taint.Remove(bounded, r.nodes, node.Name, r.config.Keys)
		cancel()
		if done && err == nil {
			r.config.Log.InfoContext(ctx, "the agent is ready: took the start-up taint off", "node", node.Name)
		}
		return reconcile.Result{}, err
	}
	return reconcile.Result{}, nil
}

// ready reports whether an agent serves a node that was made at a time: a pod of
// the node that had the name before can be there still. A pod that was made later
// is of this one, and so is one that became ready later; the node's clock, which
// the second is by, can be behind.
func ready(p *corev1.Pod, made metav1.Time) bool {
	if p.DeletionTimestamp != nil || p.Status.Phase != corev1.PodRunning {
		return false
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && (!p.CreationTimestamp.Before(&made) || !c.LastTransitionTime.Before(&made))
		}
	}
	return false
}

// stripPod keeps what ready reads.
func stripPod(o any) (any, error) {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return o, nil
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: p.Namespace, Name: p.Name, UID: p.UID, ResourceVersion: p.ResourceVersion,
			Labels: p.Labels, CreationTimestamp: p.CreationTimestamp, DeletionTimestamp: p.DeletionTimestamp,
		},
		Spec:   corev1.PodSpec{NodeName: p.Spec.NodeName},
		Status: corev1.PodStatus{Phase: p.Status.Phase, Conditions: p.Status.Conditions},
	}, nil
}

func stripNode(o any) (any, error) {
	n, ok := o.(*corev1.Node)
	if !ok {
		return o, nil
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion, CreationTimestamp: n.CreationTimestamp},
		Spec:       corev1.NodeSpec{Taints: n.Spec.Taints},
	}, nil
}
