package localcluster

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// kubelet stands for the kubelets of all nodes. It gives each pod that is bound
// to one of them its network and reports it Running; no image is pulled, no
// container and no init container runs, no probe is made, no volume mounted. A
// pod that was deleted goes at once, whatever its grace period; one whose phase
// was set to Succeeded or Failed loses its network.
type kubelet struct {
	*control
	log  *slog.Logger
	loop *loop

	// networks is held for writing while a test changes networks behind the API
	// server's back (see sandboxes.go), and for reading by everybody else who does.
	networks sync.RWMutex

	mu      sync.Mutex // guards what follows, and running and reported of each pod
	nodes   map[string]*Node
	held    map[string]bool // nodes whose pods are not reported
	pods    map[types.NamespacedName]*Pod
	changed chan struct{} // closed and made anew when pods changed
}

func newKubelet(ctx context.Context, c *control, log *slog.Logger) (*kubelet, error) {
	k := &kubelet{
		control: c, log: log,
		nodes: map[string]*Node{}, held: map[string]bool{}, pods: map[types.NamespacedName]*Pod{}, changed: make(chan struct{}),
	}
	k.loop = c.loop(8, k.sync)
	return k, c.on(ctx, &corev1.Pod{}, k.loop.add)
}

// adopt makes the kubelet responsible for a node, and for pods that have been
// bound to it already.
func (k *kubelet) adopt(ctx context.Context, node *Node) error {
	k.mu.Lock()
	k.nodes[node.Name] = node
	k.mu.Unlock()
	var pods corev1.PodList
	if err := k.cache.List(ctx, &pods); err != nil {
		return err
	}
	for i := range pods.Items {
		if pods.Items[i].Spec.NodeName == node.Name {
			k.loop.add(&pods.Items[i])
		}
	}
	return nil
}

// sync brings the network of one pod, and what the API server says of it, in
// line with the pod's object.
func (k *kubelet) sync(ctx context.Context, key types.NamespacedName) error {
	err := k.reconcile(ctx, key)
	if err != nil && ctx.Err() == nil {
		k.log.DebugContext(ctx, "pod not in order, trying again", "pod", key.String(), "err", err)
	}
	return err
}

func (k *kubelet) reconcile(ctx context.Context, key types.NamespacedName) error {
	k.networks.RLock()
	defer k.networks.RUnlock()
	var object corev1.Pod // stays empty, with no UID, when there is none
	if err := k.cache.Get(ctx, key, &object); client.IgnoreNotFound(err) != nil {
		return err
	}
	over := object.DeletionTimestamp != nil || ended(&object)
	pod, node := k.find(key, object.Spec.NodeName)
	if pod != nil && (pod.UID != object.UID || over) {
		if err := k.remove(pod); err != nil {
			return err
		}
		pod = nil
	}
	switch {
	case node == nil:
		return nil // not bound, or to a node that is none of ours
	case object.DeletionTimestamp != nil:
		return k.release(ctx, &object)
	case over:
		return nil
	case pod == nil:
		var err error
		if pod, err = k.create(node, &object); err != nil {
			return err
		}
	}
	return k.report(ctx, node, pod, &object)
}

// find returns the pod that is here under the key, and the node, if any.
func (k *kubelet) find(key types.NamespacedName, node string) (*Pod, *Node) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.pods[key], k.nodes[node]
}

func (k *kubelet) create(node *Node, object *corev1.Pod) (*Pod, error) {
	pod, err := node.newPod(object)
	if err != nil {
		return nil, fmt.Errorf("network of pod %s/%s: %w", object.Namespace, object.Name, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pods[pod.key()] = pod
	return pod, nil
}

// remove takes a pod's network away; from its beginning on, nobody finds it.
func (k *kubelet) remove(pod *Pod) error {
	k.mu.Lock()
	pod.running = false
	node := k.nodes[pod.Node]
	k.mu.Unlock()
	if err := node.removePod(pod); err != nil {
		return fmt.Errorf("network of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.pods, pod.key())
	k.tell()
	return nil
}

// release ends a deleted pod's object, after its network.
func (k *kubelet) release(ctx context.Context, object *corev1.Pod) error {
	return client.IgnoreNotFound(k.client.Delete(ctx, object,
		client.GracePeriodSeconds(0), client.Preconditions{UID: &object.UID}))
}

// report writes the pod's status, unless it is there or the node's reports are
// held; not over a status that somebody else has written since.
func (k *kubelet) report(ctx context.Context, node *Node, pod *Pod, object *corev1.Pod) error {
	k.mu.Lock()
	held, known := k.held[node.Name], pod.running
	k.mu.Unlock()
	if held {
		return nil
	}
	now := metav1.Now()
	if !known || object.Status.Phase != corev1.PodRunning || object.Status.PodIP != pod.Addr.String() {
		before := object.DeepCopy()
		setRunning(object, node, pod, now)
		patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
		if err := k.client.Status().Patch(ctx, object, patch); err != nil {
			return client.IgnoreNotFound(err)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	pod.running = true
	if !known {
		pod.reported = now.Time
	}
	k.tell()
	return nil
}

// tell wakes who waits for a pod. The caller holds mu.
func (k *kubelet) tell() {
	close(k.changed)
	k.changed = make(chan struct{})
}

// await returns the pod when it runs here.
func (k *kubelet) await(ctx context.Context, key types.NamespacedName) (*Pod, error) {
	for {
		k.mu.Lock()
		pod, changed := k.pods[key], k.changed
		running := pod != nil && pod.running
		k.mu.Unlock()
		if running {
			return pod, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait until pod %s runs: %w", key, ctx.Err())
		case <-k.ctx.Done():
			return nil, fmt.Errorf("wait until pod %s runs: the cluster is stopped", key)
		}
	}
}
