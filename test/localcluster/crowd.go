package localcluster

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Names of the crowd's link and of the bridge that is its end at the node.
const (
	crowdLink   = "crowd"
	crowdBridge = "crowd0"
)

// AddCrowd puts all addresses of a range behind one bridge of a node, and has the
// sandbox's own namespace answer to them: as many pods as a measurement wants,
// for the price of one network. Whoever binds to one of them in the sandbox
// comes to the node by that bridge. On it the node has the address own, and
// through that the others are reached. There can be one crowd.
//
//	sandbox: local range dev lo        <-- veth "crowd" -->   node: bridge "crowd0"
//	  own dev crowd, others via own                             own/32, range dev crowd0
//
// The API server knows nothing of these pods: write their objects, and let them
// name a node that the cluster does not have.
func (c *Cluster) AddCrowd(node *Node, pods netip.Prefix, own netip.Addr, others ...netip.Addr) error {
	fabric := c.fabric.ns
	if err := plugCrowd(node.ns, fabric); err != nil {
		return fmt.Errorf("link of the crowd: %w", err)
	}
	top, err := up(node.ns, crowdBridge)
	if err != nil {
		return err
	}
	bottom, err := up(fabric, crowdLink)
	if err != nil {
		return err
	}
	if err := node.ns.netlink.AddrAdd(top, &netlink.Addr{IPNet: single(own)}); err != nil {
		return fmt.Errorf("the node's address towards the crowd: %w", err)
	}
	err = node.ns.netlink.RouteAdd(&netlink.Route{LinkIndex: top.Attrs().Index, Dst: subnet(pods), Scope: netlink.SCOPE_LINK, Src: own.AsSlice()})
	if err != nil {
		return fmt.Errorf("route to the crowd: %w", err)
	}
	err = fabric.netlink.RouteAdd(&netlink.Route{LinkIndex: bottom.Attrs().Index, Dst: single(own), Scope: netlink.SCOPE_LINK})
	if err != nil {
		return fmt.Errorf("route from the crowd: %w", err)
	}
	for _, a := range others {
		err := fabric.netlink.RouteAdd(&netlink.Route{LinkIndex: bottom.Attrs().Index, Dst: single(a), Gw: own.AsSlice()})
		if err != nil {
			return fmt.Errorf("route from the crowd to %s: %w", a, err)
		}
	}
	return answerTo(fabric, pods)
}

// plugCrowd makes the bridge, and the link from it to the sandbox.
func plugCrowd(node, fabric *namespace) error {
	bridge := netlink.NewLinkAttrs()
	bridge.Name = crowdBridge
	if err := node.netlink.LinkAdd(&netlink.Bridge{LinkAttrs: bridge}); err != nil {
		return err
	}
	raw, err := fabric.file.SyscallConn()
	if err != nil {
		return err
	}
	var added error
	if err := raw.Control(func(fd uintptr) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = crowdLink
		added = node.netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: crowdLink, PeerNamespace: netlink.NsFd(int(fd))})
	}); err != nil {
		return err
	}
	if added != nil {
		return added
	}
	port, err := up(node, crowdLink)
	if err != nil {
		return err
	}
	master, err := node.netlink.LinkByName(crowdBridge)
	if err != nil {
		return err
	}
	return node.netlink.LinkSetMaster(port, master)
}

// answerTo makes all addresses of a range the namespace's own.
func answerTo(n *namespace, pods netip.Prefix) error {
	lo, err := n.netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	err = n.netlink.RouteAdd(&netlink.Route{
		LinkIndex: lo.Attrs().Index, Dst: subnet(pods), Scope: netlink.SCOPE_HOST, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL,
	})
	if err != nil {
		return fmt.Errorf("take the addresses %s: %w", pods, err)
	}
	return nil
}
