// Package redirect brings what pods send to the metadata address to nmi, and
// tells by which interface a connection came in. It owns one nftables table and
// one address on the loopback interface, and speaks to the kernel by netlink
// alone: no nft or iptables program is needed.
package redirect

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Defaults of Config.
//
//nolint:gochecknoglobals // constants that Go cannot spell as such
var (
	DefaultMetadata = netip.MustParseAddrPort("169.254.169.254:80")
	DefaultListen   = netip.MustParseAddrPort("169.254.25.79:2579")
)

// Config says what is redirected where.
type Config struct {
	// Metadata is the address that pods ask. The default is 169.254.169.254:80.
	Metadata netip.AddrPort
	// Listen is where nmi listens: a link-local IPv4 address of its own, which
	// Ensure puts on the loopback interface, and the first port to try; see
	// Redirect.Listen. The default is 169.254.25.79:2579.
	Listen netip.AddrPort
	// Interval is how often the rules are checked apart from netlink events.
	// The default is 5 s.
	Interval time.Duration
	// Report is told of every check: nil when the redirect stands, ErrSucceeded
	// when a newer agent has it. May be nil.
	Report func(error)
	// CanaryInterval is how often the canary is sent, apart from each time that the
	// rules were written. The default is 30 s.
	CanaryInterval time.Duration
	// ReportCanary is told how each canary fared: nil when it arrived. The default
	// is that none is sent.
	ReportCanary func(error)
	// Log is the logger.
	Log *slog.Logger
}

// Redirect is the redirect of the network namespace that it is used in.
//
// Two agents may be there at a time, while one replaces the other: each listens
// on a port of its own, and the table names the one that wrote it last.
//
//	starting --Ensure--> ours <--the newer one is gone-- succeeded
//	                     ours --a newer one wrote------> succeeded
//	                     ours --Yield--> yielded: new connections are dropped
type Redirect struct {
	config Config
	canary *canary // nil when none is sent

	mu         sync.Mutex
	listen     netip.AddrPort // where we listen. This and all below are guarded by mu.
	generation int64          // of this agent among those of the node; 0 before the first write
	successor  mark           // the newer agent that has the table, if any
	yielded    bool           // the table was given up for good
	written    table          // the table as the kernel told it after our last write; zero when it is not ours
	flushed    bool           // connections from before that write are ended
}

// New checks the configuration and touches nothing.
func New(c Config) (*Redirect, error) {
	if !c.Metadata.IsValid() {
		c.Metadata = DefaultMetadata
	}
	if !c.Listen.IsValid() {
		c.Listen = DefaultListen
	}
	if c.Interval <= 0 {
		c.Interval = 5 * time.Second
	}
	if c.CanaryInterval <= 0 {
		c.CanaryInterval = 30 * time.Second
	}
	if c.Report == nil {
		c.Report = func(error) {}
	}
	if !c.Listen.Addr().Is4() || !c.Listen.Addr().IsLinkLocalUnicast() || c.Listen.Port() == 0 {
		return nil, fmt.Errorf("listen address %s: write a link-local IPv4 address and a port, such as %s", c.Listen, DefaultListen)
	}
	if !c.Metadata.Addr().Is4() || c.Metadata.Addr() == c.Listen.Addr() {
		return nil, fmt.Errorf("metadata address %s: write an IPv4 address other than the listen address", c.Metadata)
	}
	r := &Redirect{config: c, listen: c.Listen}
	if c.ReportCanary != nil {
		r.canary = newCanary(c.Metadata, c.Listen.Addr())
	}
	return r, nil
}

// ErrSucceeded is what Ensure and Config.Report tell when a newer agent has the
// redirect. This one goes on serving who is connected to it, and mends nothing.
var ErrSucceeded = errors.New("a newer agent has the redirect")

// errYielded is what Ensure tells after Yield.
var errYielded = errors.New("the redirect was given up: this agent is stopping")

// Ensure puts the listen address and the table where they are missing or
// changed, in one transaction, and then ends the connections to the metadata
// address that were made around it. The first call takes the table over from any
// other agent; a later one leaves it to a newer agent for as long as that one
// listens. It needs CAP_NET_ADMIN.
func (r *Redirect) Ensure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.yielded {
		return errYielded
	}
	if err := r.EnsureAddress(); err != nil {
		return err
	}
	now, err := readTable()
	if err != nil {
		return err
	}
	if r.written.stands(now) {
		return r.flushConnections()
	}
	if err := r.giveWay(now.mark); err != nil {
		return err
	}
	switch {
	case r.generation == 0:
		// Later than every other agent's, also where the clock was set back.
		r.generation = max(time.Now().UnixNano(), now.mark.generation+1)
	case now.mark.generation > r.generation:
		r.config.Log.Warn("the newer agent does not listen any more: the redirect is taken back", "table", tableName)
	case r.written.objects != nil:
		r.config.Log.Warn("the redirect of the metadata address was changed by somebody else: mended", "table", tableName)
	}
	if err := r.write(mark{generation: r.generation, listen: r.listen}); err != nil {
		return err
	}
	return r.flushConnections()
}

// giveWay returns ErrSucceeded while a newer agent than this one listens. What
// befalls its table is for that agent to mend. r.mu is held.
func (r *Redirect) giveWay(found mark) error {
	if r.generation == 0 {
		return nil // this one has just begun: it is the newest
	}
	if found.generation > r.generation {
		r.successor = found
	}
	if r.successor.generation <= r.generation || r.successor.yielded {
		return nil
	}
	alive, err := listening(r.successor.listen)
	if err != nil {
		return fmt.Errorf("see whether the newer agent listens at %s: %w", r.successor.listen, err)
	}
	if !alive {
		r.successor = mark{}
		return nil
	}
	r.written, r.flushed = table{}, false
	return ErrSucceeded
}

// Yield is for an agent that stops, before it closes its listener: if the table
// is its own, it swaps in one that drops new connections, so that clients send
// their SYN again and are not refused; the next agent's start swaps that away.
// Connections that are made already go on. After it, Ensure does nothing.
func (r *Redirect) Yield() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.yielded || r.generation == 0 {
		return nil
	}
	r.yielded = true
	now, err := readTable()
	if err != nil {
		return err
	}
	switch err := r.giveWay(now.mark); {
	case errors.Is(err, ErrSucceeded) || now.mark.yielded:
		return nil
	case err != nil:
		return err
	}
	return r.write(mark{generation: r.generation, listen: r.listen, yielded: true})
}

// EnsureAddress puts the listen address alone on the loopback interface, so
// that nmi can listen there before anything is redirected to it.
func (r *Redirect) EnsureAddress() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find the loopback interface: %w", err)
	}
	err = netlink.AddrAdd(lo, loopbackAddress(r.config.Listen.Addr()))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add %s to the loopback interface (CAP_NET_ADMIN is needed): %w", r.config.Listen.Addr(), err)
	}
	return nil
}

func loopbackAddress(a netip.Addr) *netlink.Addr {
	return &netlink.Addr{
		IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)},
		Scope: unix.RT_SCOPE_LINK,
	}
}

// write replaces the table in one transaction: there is no moment without it. It
// remembers how the kernel tells what was written. r.mu is held.
func (r *Redirect) write(m mark) error {
	r.written, r.flushed = table{}, false
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open a netlink socket to nftables: %w", err)
	}
	ours := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName}
	conn.AddTable(ours) // so that there is one to delete
	conn.DelTable(ours)
	conn.AddTable(ours)
	objects := 0
	for _, c := range chains(r.config.Metadata, m) {
		ch := conn.AddChain(&nftables.Chain{
			Name: c.name, Table: ours, Type: c.kind, Hooknum: c.hook, Priority: &c.priority,
		})
		for _, exprs := range c.rules {
			conn.AddRule(&nftables.Rule{Table: ours, Chain: ch, Exprs: exprs, UserData: m.comment()})
		}
		objects += 1 + len(c.rules)
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("write nftables table %q (CAP_NET_ADMIN and nf_tables are needed): %w", tableName, err)
	}
	written, err := readTable()
	if err != nil {
		return err
	}
	if len(written.objects) != objects || written.mark != m {
		return fmt.Errorf("nftables table %q is not what was written, right afterwards: somebody else changes it", tableName)
	}
	r.written = written
	return nil
}

// Remove takes the table and the address away, whichever agent put them there:
// pods reach the metadata service of the node again. Only an uninstall wants
// that.
func (r *Redirect) Remove() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written, r.flushed = table{}, false
	found, err := readTable()
	if err != nil {
		return err
	}
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open a netlink socket to nftables: %w", err)
	}
	ours := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName}
	conn.AddTable(ours) // so that a missing one is no error
	conn.DelTable(ours)
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("delete nftables table %q: %w", tableName, err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find the loopback interface: %w", err)
	}
	addrs := []netip.Addr{r.config.Listen.Addr()}
	if there := found.mark.listen.Addr(); there.IsLinkLocalUnicast() && there != addrs[0] {
		addrs = append(addrs, there) // of an agent with other flags
	}
	for _, a := range addrs {
		if err := netlink.AddrDel(lo, loopbackAddress(a)); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("take %s off the loopback interface: %w", a, err)
		}
	}
	return removeCanary()
}
