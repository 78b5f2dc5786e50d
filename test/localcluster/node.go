package localcluster

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"runtime"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// NodeConfig describes a node.
type NodeConfig struct {
	// Name is the name of the Node object; it must be given.
	Name string
	// ProviderID is the Azure resource behind the node, for example
	// azure:///subscriptions/…/virtualMachineScaleSets/…/virtualMachines/0.
	ProviderID string
	// Labels are added to those of every node: kubernetes.io/hostname,
	// kubernetes.io/os, kubernetes.io/arch and agentpool ("nodepool1").
	Labels map[string]string
	// Bridge hangs the pods on a bridge, as kubenet does. False means that each
	// pod has a link of its own.
	Bridge bool

	plugin bool // a CNI plugin makes the bridge, and the routes to it
}

// Node is a node of the cluster: a network namespace and a Node object.
type Node struct {
	Name       string
	ProviderID string
	Addr       netip.Addr   // of the node's eth0
	PodRange   netip.Prefix // that the addresses of its pods are from
	Bridge     string       // that its pods hang on; empty where each has a link of its own

	ns    *namespace
	cable cable
	free  *addresses
}

// Do runs fn on a thread in the node's network namespace, and waits for it.
// Sockets that fn opens stay there; goroutines that it starts do not run there.
func (n *Node) Do(fn func() error) error { return n.ns.do(fn) }

// Command prepares a program that runs in the node's network namespace.
func (n *Node) Command(ctx context.Context, name string, args ...string) *Command {
	return n.ns.command(ctx, name, args...)
}

// DialContext connects from the node, to an IP address and a port.
func (n *Node) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return n.ns.dial(ctx, network, address)
}

// gateway is the bridge's own address.
func (n *Node) gateway() netip.Addr { return n.PodRange.Addr().Next() }

// register creates the Node object, ready for pods. Nobody checks on it
// afterwards: there are no leases, and a node never becomes unready by itself.
func (n *Node) register(ctx context.Context, api client.Client, labels map[string]string) error {
	object := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: map[string]string{
			corev1.LabelHostname: n.Name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: runtime.GOARCH, "agentpool": "nodepool1",
		}},
		Spec: corev1.NodeSpec{ProviderID: n.ProviderID},
	}
	maps.Copy(object.Labels, labels)
	if err := api.Create(ctx, object); err != nil {
		return fmt.Errorf("create node %s: %w", n.Name, err)
	}
	status := object.DeepCopy()
	status.Status = n.status()
	if err := api.Status().Patch(ctx, status, client.MergeFrom(object)); err != nil {
		return fmt.Errorf("report node %s: %w", n.Name, err)
	}
	// The API server puts a not-ready taint on every new node, which in a whole
	// cluster the node lifecycle controller takes off.
	untaint := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"taints":null}}`))
	if err := api.Patch(ctx, object, untaint); err != nil {
		return fmt.Errorf("take the not-ready taint off node %s: %w", n.Name, err)
	}
	return nil
}

func (n *Node) status() corev1.NodeStatus {
	room := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("64"),
		corev1.ResourceMemory: resource.MustParse("256Gi"),
		corev1.ResourcePods:   resource.MustParse("250"),
	}
	now := metav1.Now()
	return corev1.NodeStatus{
		Capacity:    room,
		Allocatable: room,
		Conditions: []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "NetworkNamespace",
			Message: "the node is a network namespace", LastHeartbeatTime: now, LastTransitionTime: now,
		}},
		Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: n.Addr.String()},
			{Type: corev1.NodeHostName, Address: n.Name},
		},
		NodeInfo: corev1.NodeSystemInfo{OperatingSystem: "linux", Architecture: runtime.GOARCH, KubeletVersion: "v1.37.1"},
	}
}
