package localcluster

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const crowdLink = "crowd"

// crowdMAC is the address of both ends of the link, which so need no ARP.
//
//nolint:gochecknoglobals // a constant that Go cannot spell as such
var crowdMAC = net.HardwareAddr{0x02, 0, 0, 0, 0, 0x0c}

// AddCrowd puts all addresses of a range behind one link of a node, and has the
// sandbox's own namespace answer to them: as many pods as a measurement wants,
// for the price of one network. Whoever binds to one of them in the sandbox
// comes to the node by that link. On it the node has the address own, and from it
// also the routed ones are reached. There can be one crowd.
//
//	sandbox: local range dev lo        <-- veth "crowd" -->   node: own/32
//	  own, routed dev crowd                                     range dev crowd
//
// The API server knows nothing of these pods: write their objects, and let them
// name a node that the cluster does not have.
func (c *Cluster) AddCrowd(node *Node, pods netip.Prefix, own netip.Addr, routed ...netip.Addr) error {
	fabric := c.fabric.ns
	raw, err := fabric.file.SyscallConn()
	if err != nil {
		return err
	}
	var added error
	if err := raw.Control(func(fd uintptr) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr = crowdLink, crowdMAC
		added = node.ns.netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: attrs, PeerName: crowdLink, PeerHardwareAddr: crowdMAC, PeerNamespace: netlink.NsFd(int(fd)),
		})
	}); err != nil {
		return err
	}
	if added != nil {
		return fmt.Errorf("link of the crowd: %w", added)
	}
	top, err := quiet(node.ns)
	if err != nil {
		return err
	}
	bottom, err := quiet(fabric)
	if err != nil {
		return err
	}
	if err := node.ns.netlink.AddrAdd(top, &netlink.Addr{IPNet: single(own)}); err != nil {
		return fmt.Errorf("the node's address towards the crowd: %w", err)
	}
	if err := routeDown(node.ns, top, pods, own); err != nil {
		return err
	}
	for _, a := range append([]netip.Addr{own}, routed...) {
		if err := routeDown(fabric, bottom, netip.PrefixFrom(a, a.BitLen()), netip.Addr{}); err != nil {
			return err
		}
	}
	return answerTo(fabric, pods)
}

// quiet sets the end of the crowd's link in a namespace up, without ARP.
func quiet(n *namespace) (netlink.Link, error) {
	link, err := up(n, crowdLink)
	if err != nil {
		return nil, err
	}
	if err := n.netlink.LinkSetARPOff(link); err != nil {
		return nil, fmt.Errorf("set %s to no ARP: %w", crowdLink, err)
	}
	return link, nil
}

// routeDown routes a range to the other end of a link.
func routeDown(n *namespace, link netlink.Link, to netip.Prefix, source netip.Addr) error {
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: subnet(to), Scope: netlink.SCOPE_LINK}
	if source.IsValid() {
		route.Src = source.AsSlice()
	}
	if err := n.netlink.RouteAdd(route); err != nil {
		return fmt.Errorf("route to %s: %w", to, err)
	}
	return nil
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
