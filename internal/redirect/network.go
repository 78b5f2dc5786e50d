package redirect

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// OriginsConfig describes the node's network.
type OriginsConfig struct {
	// Metadata is the address of the metadata service, which the node reaches by
	// its uplink. The default is 169.254.169.254.
	Metadata netip.Addr
	// AcceptBridges takes a bridge for the link of each pod behind it, though one
	// of them can take the address of another there. The default is to refuse.
	AcceptBridges bool
}

// Origins looks connections up in the kernel of one network namespace.
type Origins struct {
	routes *netlink.Handle
	config OriginsConfig
}

// NewOrigins opens the socket that routes are asked over; Close closes it.
func NewOrigins(c OriginsConfig) (*Origins, error) {
	if !c.Metadata.IsValid() {
		c.Metadata = DefaultMetadata.Addr()
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket to the routes: %w", err)
	}
	return &Origins{routes: h, config: c}, nil
}

// Close closes the socket.
func (o *Origins) Close() { o.routes.Close() }

// pointToPoint reports whether an interface has one other end: a veth pair, a
// netkit pair, or a tap device, as of a pod in a virtual machine. Behind any
// other, a tun device among them, many may sit and take each other's addresses.
func pointToPoint(l netlink.Link) bool {
	switch l.Type() {
	case "veth", "netkit":
		return true
	case "tuntap":
		tap, ok := l.(*netlink.Tuntap)
		return ok && tap.Mode == netlink.TUNTAP_MODE_TAP
	default:
		return false
	}
}

// LinkOf is the index of the interface that the address of a pod is on. It is 0
// when there is none, when a gateway lies between, when it is the node's uplink,
// by which other machines come, and when it is a bridge (unless accepted) or
// another interface that many share, behind which one pod can take the address of
// another.
func (o *Origins) LinkOf(a netip.Addr) int {
	l, err := o.link(a)
	if l == nil || err != nil {
		return 0
	}
	return l.Attrs().Index
}

// link is the interface that the address of a pod is on, or nil where the node
// has none for it. The error tells why one is not accepted.
func (o *Origins) link(a netip.Addr) (netlink.Link, error) {
	route := o.route(a)
	if route.Gw != nil || route.Via != nil || route.LinkIndex == 0 || route.Type == unix.RTN_LOCAL {
		return nil, nil //nolint:nilnil // documented
	}
	if uplink := o.route(o.config.Metadata); uplink.LinkIndex == route.LinkIndex && uplink.Type != unix.RTN_LOCAL {
		return nil, nil //nolint:nilnil // documented
	}
	l, err := o.routes.LinkByIndex(route.LinkIndex)
	switch {
	case err != nil || l.Attrs().Name == canaryName:
		return nil, nil //nolint:nilerr,nilnil // the link has just gone, or is no pod's
	case pointToPoint(l):
		return l, nil
	case l.Type() == "bridge" && o.config.AcceptBridges:
		return l, nil
	case l.Type() == "bridge":
		return l, fmt.Errorf("bridge %s", l.Attrs().Name)
	default:
		return l, fmt.Errorf("interface %s of kind %q", l.Attrs().Name, l.Type())
	}
}

// Survey tells whether the node's network gives each of these pods a link of its
// own. The error names what they share, why they get no token, and what accepts
// that. An address that the node has no link for says nothing: its pod may be on
// its way. Ask again when a pod or a link comes.
func (o *Origins) Survey(pods []netip.Addr) error {
	shared := make(map[string]int)
	for _, a := range pods {
		if _, err := o.link(a); err != nil {
			shared[err.Error()]++
		}
	}
	var names []string
	for name, n := range shared {
		names = append(names, fmt.Sprintf("%s (%d)", name, n))
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return fmt.Errorf("pods of this node share an interface, %s: one of them can take the address of another there, and with it its identity, so they get no token; "+
		"give each pod a link of its own, or accept the risk for bridges with --accept-bridged-pods", strings.Join(names, ", "))
}

// route is how packets to an address leave; the zero value when they do not.
func (o *Origins) route(a netip.Addr) netlink.Route {
	routes, err := o.routes.RouteGet(net.IP(a.AsSlice()))
	if err != nil || len(routes) != 1 {
		return netlink.Route{}
	}
	return routes[0]
}
