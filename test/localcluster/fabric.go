package localcluster

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// FabricAddress is where the sandbox itself is reached from every node and
	// pod: the API server's address, and the one for Azure's endpoints.
	FabricAddress = "10.224.0.1"
	// MetadataAddress is the address of the instance metadata service. It is on
	// lo of the sandbox: a request that no redirect catches arrives there.
	MetadataAddress = "169.254.169.254"

	podGateway = "169.254.1.1" // owned by nobody; see cable
	maxNodes   = 200
)

// fabric is the network that the nodes hang on: the sandbox's own namespace.
type fabric struct{ ns *namespace }

func newFabric() (*fabric, error) {
	ns, err := currentNamespace()
	if err != nil {
		return nil, err
	}
	f := &fabric{ns: ns}
	if err := f.addresses(ns.netlink.AddrAdd); err != nil {
		ns.close()
		return nil, fmt.Errorf("%w (a sandbox holds one cluster at a time)", err)
	}
	return f, nil
}

// addresses applies change to both addresses of lo. The fabric's comes first:
// the kernel takes the first one where it must choose.
func (f *fabric) addresses(change func(netlink.Link, *netlink.Addr) error) error {
	lo, err := f.ns.netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	for _, a := range []string{FabricAddress, MetadataAddress} {
		if err := change(lo, &netlink.Addr{IPNet: single(netip.MustParseAddr(a))}); err != nil {
			return fmt.Errorf("address %s of lo: %w", a, err)
		}
	}
	return nil
}

func (f *fabric) close() {
	_ = f.addresses(f.ns.netlink.AddrDel) // they go with the sandbox at the latest
	f.ns.close()
}

// attach gives node number n its namespace, addresses and routes.
func (f *fabric) attach(n int, cfg NodeConfig) (*Node, error) {
	ns, err := newNamespace()
	if err != nil {
		return nil, err
	}
	third := byte(n) //nolint:gosec // at most maxNodes
	node := &Node{
		Name:       cfg.Name,
		ProviderID: cfg.ProviderID,
		Addr:       netip.AddrFrom4([4]byte{10, 224, 0, 3 + third}),
		PodRange:   netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 224, third, 0}), 24),
		ns:         ns,
	}
	node.free = newAddresses(node.PodRange)
	node.cable = cable{
		upper: f.ns, lower: ns, name: fmt.Sprintf("node%d", n),
		address: node.Addr, gateway: netip.MustParseAddr(FabricAddress), source: netip.MustParseAddr(FabricAddress),
	}
	if cfg.Bridge {
		node.Bridge = "cbr0"
		if _, err := node.free.claim(node.gateway().String()); err != nil {
			ns.close()
			return nil, err
		}
	}
	if err := f.wire(node, cfg.plugin); err != nil {
		ns.close()
		return nil, fmt.Errorf("network of node %s: %w", node.Name, err)
	}
	return node, nil
}

func (f *fabric) wire(node *Node, plugin bool) error {
	if err := route(node.ns); err != nil {
		return err
	}
	if err := node.cable.plug(); err != nil {
		return err
	}
	if !plugin {
		if err := node.routePods(); err != nil {
			return err
		}
	}
	link, err := f.ns.netlink.LinkByName(node.cable.name)
	if err != nil {
		return err
	}
	err = f.ns.netlink.RouteAdd(&netlink.Route{
		LinkIndex: link.Attrs().Index,
		Dst:       subnet(node.PodRange),
		Gw:        node.Addr.AsSlice(),
		Flags:     int(netlink.FLAG_ONLINK),
		Src:       node.cable.source.AsSlice(),
	})
	if err != nil {
		return fmt.Errorf("add the route to the pods: %w", err)
	}
	return nil
}

// routePods says where the addresses of pods are that have no route of their own.
func (n *Node) routePods() error {
	if n.Bridge == "" {
		// An address of the range that no pod has would go round between node and
		// fabric, up the default route and down again.
		err := n.ns.netlink.RouteAdd(&netlink.Route{Dst: subnet(n.PodRange), Type: unix.RTN_UNREACHABLE})
		if err != nil {
			return fmt.Errorf("refuse addresses without a pod: %w", err)
		}
		return nil
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = n.Bridge
	if err := n.ns.netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return fmt.Errorf("make bridge %s: %w", n.Bridge, err)
	}
	bridge, err := up(n.ns, n.Bridge)
	if err != nil {
		return err
	}
	network := subnet(n.PodRange)
	network.IP = n.gateway().AsSlice()
	if err := n.ns.netlink.AddrAdd(bridge, &netlink.Addr{IPNet: network}); err != nil {
		return fmt.Errorf("address of bridge %s: %w", n.Bridge, err)
	}
	return nil
}

// detach takes the node's network away.
func (n *Node) detach() {
	n.ns.end()
	_ = n.cable.unplug() // it goes with the namespace at the latest
	n.ns.close()
}
