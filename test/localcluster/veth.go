package localcluster

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// cable joins a lower namespace (a node, a pod) to the upper one that routes
// for it (the fabric, the pod's node).
//
//	upper: name, no address      <-- veth -->   lower: eth0, address/32
//	  address/32 dev name src source              default via gateway onlink
//	  neighbour address = MAC of eth0             neighbour gateway = MAC of name
//
// Both neighbours are permanent: nobody needs to own the gateway's address, and
// no setting inherited from the host can keep an ARP question unanswered.
type cable struct {
	upper, lower *namespace
	name         string     // of the upper end; at most 15 characters
	address      netip.Addr // of the lower end
	gateway      netip.Addr // next hop of the lower end
	source       netip.Addr // that the upper namespace calls from

	// With a bridge, the upper end is a port of it. Then there is no route and no
	// neighbour entry for the cable alone, and ARP does its work.
	bridge string
	bits   int // of the lower end's network, which the gateway is in
}

// plug makes the veth pair and the routes at both ends.
func (c cable) plug() error {
	if err := c.make(); err != nil {
		return fmt.Errorf("veth %s for %s: %w", c.name, c.address, err)
	}
	return nil
}

func (c cable) make() error {
	raw, err := c.lower.file.SyscallConn()
	if err != nil {
		return err
	}
	var added error
	err = raw.Control(func(fd uintptr) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = c.name
		added = c.upper.netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(fd))})
	})
	if err != nil {
		return err
	}
	if added != nil {
		return added
	}
	top, err := up(c.upper, c.name)
	if err != nil {
		return err
	}
	eth0, err := up(c.lower, "eth0")
	if err != nil {
		return err
	}
	if c.bridge != "" {
		return errors.Join(c.addPort(top), c.joinNetwork(eth0))
	}
	if err := c.wireLower(eth0, top.Attrs().HardwareAddr); err != nil {
		return err
	}
	return c.wireUpper(top, eth0.Attrs().HardwareAddr)
}

func (c cable) wireLower(eth0 netlink.Link, gateway net.HardwareAddr) error {
	index := eth0.Attrs().Index
	if err := c.lower.netlink.AddrAdd(eth0, &netlink.Addr{IPNet: single(c.address)}); err != nil {
		return fmt.Errorf("add the address: %w", err)
	}
	if err := c.lower.netlink.NeighSet(permanent(index, c.gateway, gateway)); err != nil {
		return fmt.Errorf("add the gateway's neighbour entry: %w", err)
	}
	err := c.lower.netlink.RouteAdd(&netlink.Route{
		LinkIndex: index,
		Dst:       &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)},
		Gw:        c.gateway.AsSlice(),
		Flags:     int(netlink.FLAG_ONLINK),
	})
	if err != nil {
		return fmt.Errorf("add the default route: %w", err)
	}
	return nil
}

func (c cable) wireUpper(top netlink.Link, peer net.HardwareAddr) error {
	index := top.Attrs().Index
	if err := c.upper.netlink.NeighSet(permanent(index, c.address, peer)); err != nil {
		return fmt.Errorf("add the neighbour entry: %w", err)
	}
	err := c.upper.netlink.RouteAdd(&netlink.Route{
		LinkIndex: index,
		Dst:       single(c.address),
		Scope:     netlink.SCOPE_LINK,
		Src:       c.source.AsSlice(),
	})
	if err != nil {
		return fmt.Errorf("add the route: %w", err)
	}
	return nil
}

// addPort makes the upper end a port of the bridge.
func (c cable) addPort(top netlink.Link) error {
	bridge, err := c.upper.netlink.LinkByName(c.bridge)
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", c.bridge, err)
	}
	return c.upper.netlink.LinkSetMaster(top, bridge)
}

// joinNetwork gives the lower end its address in the bridge's network.
func (c cable) joinNetwork(eth0 netlink.Link) error {
	network := &net.IPNet{IP: c.address.AsSlice(), Mask: net.CIDRMask(c.bits, c.address.BitLen())}
	if err := c.lower.netlink.AddrAdd(eth0, &netlink.Addr{IPNet: network}); err != nil {
		return fmt.Errorf("add the address: %w", err)
	}
	return c.lower.netlink.RouteAdd(&netlink.Route{
		LinkIndex: eth0.Attrs().Index,
		Dst:       &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)},
		Gw:        c.gateway.AsSlice(),
	})
}

// unplug removes the veth pair, and the routes with it.
func (c cable) unplug() error {
	link, err := c.upper.netlink.LinkByName(c.name)
	if err != nil {
		return fmt.Errorf("find veth %s: %w", c.name, err)
	}
	if err := c.upper.netlink.LinkDel(link); err != nil {
		return fmt.Errorf("remove veth %s: %w", c.name, err)
	}
	return nil
}

// up sets a link up and returns it.
func up(n *namespace, name string) (netlink.Link, error) {
	link, err := n.netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", name, err)
	}
	if err := n.netlink.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("set %s up: %w", name, err)
	}
	return link, nil
}

// single is the network that holds one address.
func single(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

// subnet is p as the netlink library wants it.
func subnet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func permanent(link int, address netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: link, Family: unix.AF_INET, State: netlink.NUD_PERMANENT, IP: address.AsSlice(), HardwareAddr: mac,
	}
}
