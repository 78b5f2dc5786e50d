package localcluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// scheduler binds pods that have no node to the ready node with the fewest
// pods that their nodeSelector admits. Resources, affinity, taints, priorities
// and volumes do not count. A pod that no node takes waits for a change of the
// nodes.
type scheduler struct {
	*control
	// bound holds what was bound and is not yet seen so in the cache. The loop
	// has one worker, so it needs no lock.
	bound map[types.UID]string
}

func newScheduler(ctx context.Context, c *control) error {
	s := &scheduler{control: c, bound: map[types.UID]string{}}
	l := c.loop(1, s.sync)
	err := c.on(ctx, &corev1.Pod{}, func(object client.Object) {
		if pod, ok := object.(*corev1.Pod); ok && waiting(pod) {
			l.add(pod)
		}
	})
	if err != nil {
		return err
	}
	return c.on(ctx, &corev1.Node{}, func(client.Object) {
		var pods corev1.PodList
		if c.cache.List(c.ctx, &pods) != nil {
			return // the cache is not filled: each pod will come by itself
		}
		for i := range pods.Items {
			if waiting(&pods.Items[i]) {
				l.add(&pods.Items[i])
			}
		}
	})
}

func waiting(pod *corev1.Pod) bool {
	return pod.Spec.NodeName == "" && pod.DeletionTimestamp == nil && len(pod.Spec.SchedulingGates) == 0 &&
		pod.Spec.SchedulerName == corev1.DefaultSchedulerName && !ended(pod)
}

func (s *scheduler) sync(ctx context.Context, key types.NamespacedName) error {
	var pod corev1.Pod
	if err := s.cache.Get(ctx, key, &pod); err != nil {
		return client.IgnoreNotFound(err)
	}
	load, err := s.load(ctx)
	if err != nil {
		return err
	}
	if s.bound[pod.UID] != "" || !waiting(&pod) {
		return nil
	}
	var nodes corev1.NodeList
	if err := s.cache.List(ctx, &nodes); err != nil {
		return err
	}
	node := choose(&pod, nodes.Items, load)
	if node == "" {
		return nil
	}
	binding := &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: node}}
	if err := s.client.SubResource("binding").Create(ctx, &pod, binding); err != nil {
		return fmt.Errorf("bind pod %s to node %s: %w", key, node, err)
	}
	s.bound[pod.UID] = node
	return nil
}

// load counts the pods of each node, and forgets what the cache knows by now.
func (s *scheduler) load(ctx context.Context) (map[string]int, error) {
	var pods corev1.PodList
	if err := s.cache.List(ctx, &pods, client.UnsafeDisableDeepCopy); err != nil { // read only
		return nil, err
	}
	load, bound := map[string]int{}, map[types.UID]string{}
	for i := range pods.Items {
		pod := &pods.Items[i]
		node := pod.Spec.NodeName
		if node == "" && s.bound[pod.UID] != "" {
			node = s.bound[pod.UID]
			bound[pod.UID] = node
		}
		if node != "" && !ended(pod) {
			load[node]++
		}
	}
	s.bound = bound
	return load, nil
}

// choose returns the name of the node for the pod, or "". Of equals, the first
// by name.
func choose(pod *corev1.Pod, nodes []corev1.Node, load map[string]int) string {
	selector := labels.SelectorFromSet(pod.Spec.NodeSelector)
	best := ""
	for i := range nodes {
		node := &nodes[i]
		if !takesPods(node) || !selector.Matches(labels.Set(node.Labels)) {
			continue
		}
		if best == "" || load[node.Name] < load[best] || (load[node.Name] == load[best] && node.Name < best) {
			best = node.Name
		}
	}
	return best
}

func takesPods(node *corev1.Node) bool {
	if node.Spec.Unschedulable {
		return false
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
