package redirect

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// flushConnections ends what is connected to the metadata address by another
// way than ours, since before the rules stood: such a connection keeps its path
// for as long as its conntrack entry lives. Once is enough. r.mu is held.
func (r *Redirect) flushConnections() error {
	if r.flushed {
		return nil
	}
	around := aroundUs{metadata: r.config.Metadata.Addr(), listen: r.config.Listen.Addr()}
	if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, around); err != nil {
		return fmt.Errorf("flush conntrack entries of %s: %w", around.metadata, err)
	}
	r.flushed = true
	return nil
}

// aroundUs matches connections that were made to the metadata address and did
// not go to an agent's listener. Those that did may be another agent's, and go on.
type aroundUs struct{ metadata, listen netip.Addr }

// MatchConntrackFlow implements [netlink.CustomConntrackFilter].
func (a aroundUs) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	to, _ := netip.AddrFromSlice(f.Forward.DstIP)
	from, _ := netip.AddrFromSlice(f.Reverse.SrcIP)
	return to.Unmap() == a.metadata && from.Unmap() != a.listen
}
