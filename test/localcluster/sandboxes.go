package localcluster

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// HoldStatus keeps the kubelet of a node from reporting: what the API server
// tells of the node's pods grows old. ReportStatus ends it.
func (c *Cluster) HoldStatus(node string) {
	c.kubelet.mu.Lock()
	defer c.kubelet.mu.Unlock()
	c.kubelet.held[node] = true
}

// ReportStatus lets the kubelet of a node report again, also what it has not
// reported meanwhile. Wait with [Cluster.Pod] until a pod is reported.
func (c *Cluster) ReportStatus(node string) {
	k := c.kubelet
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.held, node)
	for key, pod := range k.pods {
		if pod.Node == node {
			k.loop.queue.Add(key)
		}
	}
}

// Reboot does to the pods of a node what a reboot does: all links are new, and
// each pod has the address that another one had, while the API server still
// tells the old ones. It returns the pods as they are now, by name, and holds
// their statuses; see [Cluster.ReportStatus]. The node's own programs go on, and
// so do its firewall and its routes.
func (c *Cluster) Reboot(ctx context.Context, node string) ([]*Pod, error) {
	c.HoldStatus(node)
	k := c.kubelet
	k.networks.Lock()
	defer k.networks.Unlock()
	old := k.podsOf(node)
	for _, pod := range old {
		if err := pod.await(ctx, k); err != nil {
			return nil, err
		}
		if err := pod.cutOff(); err != nil {
			return nil, err
		}
	}
	pods := make([]*Pod, 0, len(old))
	for i, pod := range old {
		addr := old[(i+1)%len(old)].Addr
		if len(old) == 1 {
			var err error
			if addr, err = c.Node(node).free.take(); err != nil {
				return nil, err
			}
			c.Node(node).free.giveBack(pod.Addr)
		}
		again, err := k.again(pod, addr)
		if err != nil {
			return nil, err
		}
		pods = append(pods, again)
	}
	return pods, nil
}

// ReplaceSandbox gives a pod a new network, as a kubelet does when the old one
// was lost: its programs end, and it has a new link with the address, or with the
// one that it had when addr is the zero value. The pod is returned as it is now;
// wait with [Cluster.Pod] until it is reported.
func (c *Cluster) ReplaceSandbox(ctx context.Context, pod *Pod, addr netip.Addr) (*Pod, error) {
	if pod.Interface == "" {
		return nil, fmt.Errorf("pod %s/%s is on the host's network", pod.Namespace, pod.Name)
	}
	k := c.kubelet
	if err := pod.await(ctx, k); err != nil {
		return nil, err
	}
	k.networks.Lock()
	defer k.networks.Unlock()
	if !k.has(pod) {
		return nil, fmt.Errorf("pod %s/%s is not what it was: take it from Cluster.Pod", pod.Namespace, pod.Name)
	}
	free, other := c.Node(pod.Node).free, addr.IsValid() && addr != pod.Addr
	if other { // before anything is undone
		if _, err := free.claim(addr.String()); err != nil {
			return nil, err
		}
	} else {
		addr = pod.Addr
	}
	if err := pod.cutOff(); err != nil {
		return nil, err
	}
	if other {
		free.giveBack(pod.Addr)
	}
	again, err := k.again(pod, addr)
	k.loop.queue.Add(pod.key())
	return again, err
}

// has tells whether the pod is the present one under its name.
func (k *kubelet) has(pod *Pod) bool {
	present, _ := k.find(pod.key(), pod.Node)
	return present == pod
}

// podsOf returns the pods of a node that have a network of their own, by name.
func (k *kubelet) podsOf(node string) []*Pod {
	k.mu.Lock()
	defer k.mu.Unlock()
	var pods []*Pod
	for _, pod := range k.pods {
		if pod.Node == node && pod.Interface != "" {
			pods = append(pods, pod)
		}
	}
	slices.SortFunc(pods, func(a, b *Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return pods
}

// await waits until a status that is written now has a later time than the
// pod's last one. Times in the API have whole seconds; a kubelet takes longer.
func (p *Pod) await(ctx context.Context, k *kubelet) error {
	k.mu.Lock()
	next := p.reported.Truncate(time.Second).Add(time.Second)
	k.mu.Unlock()
	select {
	case <-time.After(time.Until(next)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// cutOff ends the pod's programs and its network; it keeps its address.
func (p *Pod) cutOff() error {
	p.ns.end()
	if err := p.cable.unplug(); err != nil {
		return fmt.Errorf("network of pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	p.ns.close()
	return nil
}

// again makes a new network for a pod that was cut off. The caller holds
// networks.
func (k *kubelet) again(old *Pod, addr netip.Addr) (*Pod, error) {
	pod := &Pod{
		Namespace: old.Namespace, Name: old.Name, UID: old.UID, Node: old.Node,
		Addr: addr, sandbox: old.sandbox + 1,
	}
	_, node := k.find(pod.key(), pod.Node)
	if err := node.wirePod(pod); err != nil {
		return nil, fmt.Errorf("network of pod %s/%s: %w", old.Namespace, old.Name, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pods[pod.key()] = pod
	k.tell()
	return pod, nil
}
