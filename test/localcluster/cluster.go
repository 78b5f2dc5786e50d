package localcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// Config describes a cluster.
type Config struct {
	// Dir is for the control plane; see [ControlPlaneConfig].
	Dir string
	// Nodes are the nodes that are there from the start; see Cluster.AddNode.
	Nodes []NodeConfig
	// CRDs is a directory with definitions to install. Empty means none.
	CRDs string
	// Binary is the control plane's binary. Empty means the one of [Build].
	Binary string
	// Port is the API server's port. Zero means 6443.
	Port uint16
	// Progress is told, a line at a time, what Start is doing. Nil means nobody is.
	Progress io.Writer
	// Log gets what goes wrong and is tried again. Nil means nobody does.
	Log *slog.Logger
}

// Cluster is a control plane with nodes and pods.
type Cluster struct {
	*ControlPlane

	fabric  *fabric
	control *control
	kubelet *kubelet
	end     sync.Once

	mu    sync.Mutex // guards nodes
	nodes []*Node
}

// Start starts a cluster inside a sandbox, one at a time. The API server
// listens on [FabricAddress]. When it returns, the nodes are ready; on an error
// nothing is left.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	if !Inside() {
		return nil, errors.New("start a cluster: this program is not in a sandbox (see localcluster.Main and Reexec)")
	}
	if cfg.Progress == nil {
		cfg.Progress = io.Discard
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Port == 0 {
		cfg.Port = 6443
	}
	c := &Cluster{}
	if err := c.start(ctx, cfg); err != nil {
		c.Stop()
		return nil, fmt.Errorf("start a cluster: %w", err)
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context, cfg Config) error {
	var err error
	if c.fabric, err = newFabric(); err != nil {
		return err
	}
	say(cfg.Progress, "starting etcd and kube-apiserver")
	c.ControlPlane, err = StartControlPlane(ctx, ControlPlaneConfig{
		Dir: cfg.Dir, BindAddress: netip.MustParseAddr(FabricAddress), Port: cfg.Port,
		Binary: cfg.Binary, Progress: cfg.Progress,
	})
	if err != nil {
		return err
	}
	if cfg.CRDs != "" {
		say(cfg.Progress, "installing the custom resource definitions")
		if err := c.InstallCRDs(ctx, cfg.CRDs); err != nil {
			return err
		}
	}
	if c.control, err = newControl(c.REST()); err != nil {
		return err
	}
	if c.kubelet, err = newKubelet(ctx, c.control, cfg.Log); err != nil {
		return err
	}
	if err := newScheduler(ctx, c.control); err != nil {
		return err
	}
	if err := c.control.run(ctx); err != nil {
		return err
	}
	for _, node := range cfg.Nodes {
		say(cfg.Progress, "starting node "+node.Name)
		if _, err := c.AddNode(ctx, node); err != nil {
			return err
		}
	}
	return nil
}

// AddNode adds a node and returns when it takes pods. Nodes are never removed.
func (c *Cluster) AddNode(ctx context.Context, cfg NodeConfig) (*Node, error) {
	if cfg.Name == "" {
		return nil, errors.New("add a node: no name given")
	}
	c.mu.Lock()
	defer c.mu.Unlock() // also while the network is made, which gives the nodes their order
	number := len(c.nodes) + 1
	if number > maxNodes {
		return nil, fmt.Errorf("add node %s: a cluster has at most %d", cfg.Name, maxNodes)
	}
	node, err := c.fabric.attach(number, cfg)
	if err != nil {
		return nil, err
	}
	c.nodes = append(c.nodes, node)
	if err := c.kubelet.adopt(ctx, node); err != nil {
		return nil, err
	}
	return node, node.register(ctx, c.control.client, cfg.Labels)
}

// Nodes returns the nodes in the order in which they were added.
func (c *Cluster) Nodes() []*Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*Node(nil), c.nodes...)
}

// Node returns the node with a name, or nil.
func (c *Cluster) Node(name string) *Node {
	for _, node := range c.Nodes() {
		if node.Name == name {
			return node
		}
	}
	return nil
}

// Pod waits until a pod runs on one of the nodes and its status says so.
func (c *Cluster) Pod(ctx context.Context, namespace, name string) (*Pod, error) {
	return c.kubelet.await(ctx, types.NamespacedName{Namespace: namespace, Name: name})
}

// Stop ends everything: programs in nodes and pods, networks, the API server.
// Further calls do nothing.
func (c *Cluster) Stop() {
	c.end.Do(func() {
		if c.control != nil {
			c.control.stop()
		}
		if c.kubelet != nil {
			c.kubelet.close()
		}
		if c.ControlPlane != nil {
			c.ControlPlane.Stop() // while its address is there to say good-bye to clients
		}
		for _, node := range c.Nodes() {
			node.detach()
		}
		if c.fabric != nil {
			c.fabric.close()
		}
	})
}

// close lets go of all pods when the loop has ended. Their networks go with
// those of the nodes.
func (k *kubelet) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, pod := range k.pods {
		if pod.ns.end(); pod.Interface != "" {
			pod.ns.close()
		}
	}
	clear(k.pods)
}

// say writes a line for a person.
func say(w io.Writer, line string) {
	_, _ = fmt.Fprintln(w, line) // progress is not worth an error
}
