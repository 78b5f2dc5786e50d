package localcluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// AddressAnnotation on a pod asks for a certain address of its node's range.
// The pod waits while another one has it.
const AddressAnnotation = "localcluster.podid.io/ip"

// Pod is a running pod: a network namespace, or its node's if it is on the
// host's network. No container runs in it; see [Pod.Command].
type Pod struct {
	Namespace string
	Name      string
	UID       types.UID
	Node      string     // its name
	Addr      netip.Addr // of its eth0, or of its node
	Interface string     // the node's end of its veth; empty on the host's network

	ns       *namespace
	cable    cable
	sandbox  int32     // how many networks the pod had before this one
	running  bool      // the API server has it as Running; guarded by the kubelet's mu
	reported time.Time // since when it has; guarded by the kubelet's mu
}

// Do runs fn on a thread in the pod's network namespace, and waits for it.
// Sockets that fn opens stay there; goroutines that it starts do not run there.
func (p *Pod) Do(fn func() error) error { return p.ns.do(fn) }

// Command prepares a program that runs in the pod's network namespace. It is
// killed when the pod goes.
func (p *Pod) Command(ctx context.Context, name string, args ...string) *Command {
	return p.ns.command(ctx, name, args...)
}

// DialContext connects from the pod, to an IP address and a port; it fits
// [net/http.Transport].
func (p *Pod) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return p.ns.dial(ctx, network, address)
}

// newPod makes the network of a pod on node n.
func (n *Node) newPod(object *corev1.Pod) (*Pod, error) {
	pod := &Pod{Namespace: object.Namespace, Name: object.Name, UID: object.UID, Node: n.Name}
	if object.Spec.HostNetwork {
		pod.Addr, pod.ns = n.Addr, n.ns.borrow()
		return pod, nil
	}
	var err error
	if want, asked := object.Annotations[AddressAnnotation]; asked {
		pod.Addr, err = n.free.claim(want)
	} else {
		pod.Addr, err = n.free.take()
	}
	if err != nil {
		return nil, fmt.Errorf("address: %w", err)
	}
	if err := n.wirePod(pod); err != nil {
		n.free.giveBack(pod.Addr)
		return nil, err
	}
	return pod, nil
}

// wirePod makes the network of a pod that has an address.
func (n *Node) wirePod(pod *Pod) error {
	var err error
	if pod.ns, err = newNamespace(); err != nil {
		return err
	}
	pod.Interface = vethName(pod.UID, pod.sandbox)
	pod.cable = cable{
		upper: n.ns, lower: pod.ns, name: pod.Interface,
		address: pod.Addr, gateway: netip.MustParseAddr(podGateway), source: n.Addr,
	}
	if n.Bridge != "" {
		pod.cable.bridge, pod.cable.gateway, pod.cable.bits = n.Bridge, n.gateway(), n.PodRange.Bits()
	}
	if err := pod.cable.plug(); err != nil {
		_ = pod.cable.unplug() // as far as it was plugged
		pod.ns.close()
		return err
	}
	return nil
}

// removePod ends the pod's programs and takes its network away. It can be
// called again after an error.
func (n *Node) removePod(pod *Pod) error {
	pod.ns.end()
	if pod.Interface == "" {
		return nil
	}
	if err := pod.cable.unplug(); err != nil {
		return err
	}
	pod.ns.close()
	n.free.giveBack(pod.Addr)
	return nil
}

// vethName is the name of the node's end, as Azure CNI forms it.
func vethName(uid types.UID, sandbox int32) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d", uid, sandbox))
	return "azv" + hex.EncodeToString(sum[:])[:11]
}

func (p *Pod) key() types.NamespacedName {
	return types.NamespacedName{Namespace: p.Namespace, Name: p.Name}
}

// ended tells whether the pod's containers are over, and its address with them.
func ended(object *corev1.Pod) bool {
	return object.Status.Phase == corev1.PodSucceeded || object.Status.Phase == corev1.PodFailed
}
