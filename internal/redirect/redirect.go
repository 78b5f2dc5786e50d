// Package redirect brings what pods send to the metadata address to nmi, and
// tells by which interface a connection came in. It owns one nftables table and
// one address on the loopback interface, and speaks to the kernel by netlink
// alone: no nft or iptables program is needed.
package redirect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Defaults of Config.
//
//nolint:gochecknoglobals // constants that Go cannot spell as such
var (
	DefaultMetadata = netip.MustParseAddrPort("169.254.169.254:80")
	DefaultListen   = netip.MustParseAddrPort("169.254.25.79:2579")
)

// checkPause is the least time between two checks.
const checkPause = 250 * time.Millisecond

// Config says what is redirected where.
type Config struct {
	// Metadata is the address that pods ask. The default is 169.254.169.254:80.
	Metadata netip.AddrPort
	// Listen is where nmi listens: a link-local IPv4 address of its own, which
	// Ensure puts on the loopback interface. The default is 169.254.25.79:2579.
	Listen netip.AddrPort
	// Interval is how often the rules are checked apart from netlink events.
	// The default is 5 s.
	Interval time.Duration
	// Report is told of every check: nil when the redirect stands. May be nil.
	Report func(error)
	// Log is the logger.
	Log *slog.Logger
}

// Redirect is the redirect of the network namespace that it is used in.
type Redirect struct {
	config Config

	mu      sync.Mutex
	written [][]byte // our table as the kernel told it after the last write; guarded by mu
	flushed bool     // connections from before that write are ended; guarded by mu
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
	if c.Report == nil {
		c.Report = func(error) {}
	}
	if !c.Listen.Addr().Is4() || !c.Listen.Addr().IsLinkLocalUnicast() || c.Listen.Port() == 0 {
		return nil, fmt.Errorf("listen address %s: write a link-local IPv4 address and a port, such as %s", c.Listen, DefaultListen)
	}
	if !c.Metadata.Addr().Is4() || c.Metadata.Addr() == c.Listen.Addr() {
		return nil, fmt.Errorf("metadata address %s: write an IPv4 address other than the listen address", c.Metadata)
	}
	return &Redirect{config: c}, nil
}

// Ensure puts the listen address and the table where they are missing or
// changed, in one transaction, and then ends the connections to the metadata
// address that were open before. It needs CAP_NET_ADMIN.
func (r *Redirect) Ensure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.EnsureAddress(); err != nil {
		return err
	}
	if r.written != nil {
		current, err := read()
		if err != nil {
			return err
		}
		if slices.EqualFunc(current, r.written, bytes.Equal) {
			return r.flushConnections()
		}
		r.config.Log.Warn("the redirect of the metadata address was changed by somebody else: mended", "table", tableName)
	}
	r.written, r.flushed = nil, false
	if err := r.write(); err != nil {
		return err
	}
	written, err := read()
	if err != nil {
		return err
	}
	if want := objects(r.config.Metadata, r.config.Listen); len(written) != want {
		return fmt.Errorf("nftables table %q has %d chains and rules right after it was written, want %d: somebody else changes it", tableName, len(written), want)
	}
	r.written = written
	return r.flushConnections()
}

// EnsureAddress puts the listen address alone on the loopback interface, so
// that nmi can listen there before anything is redirected to it.
func (r *Redirect) EnsureAddress() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find the loopback interface: %w", err)
	}
	err = netlink.AddrAdd(lo, r.address())
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add %s to the loopback interface (CAP_NET_ADMIN is needed): %w", r.config.Listen.Addr(), err)
	}
	return nil
}

func (r *Redirect) address() *netlink.Addr {
	return &netlink.Addr{
		IPNet: &net.IPNet{IP: r.config.Listen.Addr().AsSlice(), Mask: net.CIDRMask(32, 32)},
		Scope: unix.RT_SCOPE_LINK,
	}
}

// write replaces the table in one transaction: there is no moment without it.
func (r *Redirect) write() error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open a netlink socket to nftables: %w", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName}
	conn.AddTable(table) // so that there is one to delete
	conn.DelTable(table)
	conn.AddTable(table)
	for _, c := range chains(r.config.Metadata, r.config.Listen) {
		ch := conn.AddChain(&nftables.Chain{
			Name: c.name, Table: table, Type: c.kind, Hooknum: c.hook, Priority: &c.priority,
		})
		for _, exprs := range c.rules {
			conn.AddRule(&nftables.Rule{Table: table, Chain: ch, Exprs: exprs})
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("write nftables table %q (CAP_NET_ADMIN and nf_tables are needed): %w", tableName, err)
	}
	return nil
}

// flushConnections ends what was connected to the metadata address before the
// rules stood: such a connection keeps its path for as long as its conntrack
// entry lives. Once is enough. r.mu is held.
func (r *Redirect) flushConnections() error {
	if r.flushed {
		return nil
	}
	f := &netlink.ConntrackFilter{}
	if err := f.AddIP(netlink.ConntrackOrigDstIP, r.config.Metadata.Addr().AsSlice()); err != nil {
		return fmt.Errorf("conntrack filter: %w", err)
	}
	if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, f); err != nil {
		return fmt.Errorf("flush conntrack entries of %s: %w", r.config.Metadata.Addr(), err)
	}
	r.flushed = true
	return nil
}

// Run keeps the redirect standing until ctx ends: it is checked at every
// change of nftables and at every interval. It never takes the rules away: a
// node whose agent is down answers nobody (see Remove). Failures are reported
// and tried again.
func (r *Redirect) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	changes := make(chan struct{}, 1)
	g.Go(func() error { r.watch(ctx, changes); return nil }) // ends with ctx
	g.Go(func() error {
		tick := time.NewTicker(r.config.Interval)
		defer tick.Stop()
		for {
			r.config.Report(r.Ensure())
			select { // our own writes are changes too, and so are those of who fights us
			case <-ctx.Done():
				return nil
			case <-time.After(checkPause):
			}
			select {
			case <-ctx.Done():
				return nil
			case <-changes:
			case <-tick.C:
			}
		}
	})
	return g.Wait()
}

// watch sends to changes when nftables changes. It opens its socket again when
// that fails; until then the interval serves.
func (r *Redirect) watch(ctx context.Context, changes chan<- struct{}) {
	for {
		if err := follow(ctx, changes); err != nil {
			r.config.Log.DebugContext(ctx, "following nftables ended", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(r.config.Interval):
		}
	}
}

// follow sends to changes until ctx ends or the socket fails.
func follow(ctx context.Context, changes chan<- struct{}) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	monitor := nftables.NewMonitor()
	events, err := conn.AddMonitor(monitor)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = monitor.Close() }) // makes events end
	defer func() {
		stop()
		_ = monitor.Close() // it may be closed already
	}()
	// An event that cannot be parsed, such as one of our own rules, is a change
	// too. Only one that says that the socket has failed is the last.
	for e := range events {
		select {
		case changes <- struct{}{}:
		default: // a check is due already
		}
		if e.Type == nftables.MonitorEventTypeOOB {
			return e.Error
		}
	}
	return nil
}

// Remove takes the table and the address away: pods reach the metadata service
// of the node again. Only an uninstall wants that.
func (r *Redirect) Remove() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written, r.flushed = nil, false
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open a netlink socket to nftables: %w", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName}
	conn.AddTable(table) // so that a missing one is no error
	conn.DelTable(table)
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("delete nftables table %q: %w", tableName, err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find the loopback interface: %w", err)
	}
	if err := netlink.AddrDel(lo, r.address()); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("take %s off the loopback interface: %w", r.config.Listen.Addr(), err)
	}
	return nil
}
