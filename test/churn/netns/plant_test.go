package netns_test

import (
	"cmp"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/podid-io/podid/test/churn/model"
	"github.com/podid-io/podid/test/localcluster"
)

// plant is something around the agent that is not as it should be: a flag, a file
// or the network. The agent itself is the one that everybody has. The zero value
// is nothing.
type plant struct {
	name  string
	node  int         // which one
	law   model.Law   // which the judge must name; empty where the agent withstands
	also  []model.Law // which it may break before that
	flags []string    // of the agent
	steps int         // of the story; 0 means plantStory
	// upsets says that reboots and restarts come ten times as often.
	upsets bool

	before func(*world) error // an agent is started
	after  func(*world) error // it is ready
	begun  func(*world) error // the first pods are there
	// forging is when a pod is about to ask in the name of another, which happens
	// often then; it returns what undoes it.
	forging func(w *world, thief, victim *pod) (undo func() error, err error)
}

const (
	second  = 1
	bridged = 2
)

// plants are the things that are spoiled, each under what it is.
func plants() []*plant {
	// Who takes one pod for another gives it the other's token. Before that it may
	// deny the pod its own, or give it the same identity in the other's name.
	mistaken := []model.Law{model.OnePod, model.Final}
	return []*plant{
		{name: "nothing is remembered across restarts", law: model.Entitled, also: mistaken, node: second, upsets: true, flags: []string{"--run-dir="}},
		{name: "what is remembered is of long ago", law: model.Entitled, also: mistaken, node: second, upsets: true, before: remindOfLongAgo},
		{name: "the redirect goes with the agent", law: model.Absent, node: second, upsets: true, flags: []string{"--remove-redirect-on-exit"}},
		{name: "a firewall drops what is redirected", law: model.Answered, node: second, after: dropRedirected},
		{name: "the API server is not heard any more", law: model.Entitled, node: second, steps: 1, begun: deafen},
		{name: "nobody puts identities on the node", law: model.Served, node: second, steps: 3, flags: []string{"--operation-mode=standard"}},
		{name: "pods behind a bridge are served", law: model.Entitled, node: bridged, flags: []string{"--accept-bridged-pods"}, forging: spoofARP},
		// These the agent withstands.
		{name: "a route leads to the thief", node: second, steps: 50, forging: misroute},
	}
}

// live tells the story of a plant, and reports whether it was found for what it is.
func (p *plant) live(t *testing.T, c *cluster, name string, seed uint64) bool {
	t.Helper()
	w := newWorld(t, c, name, seed, p)
	w.live(func() bool { return w.count.steps < cmp.Or(p.steps, plantStory) })
	switch law := lawOf(w.wrong); {
	case law != p.law && p.law == "":
		t.Errorf("step %d: %v\nthe last that happened:\n%s", w.count.steps, w.wrong, w.last())
	case law != p.law && w.wrong == nil:
		t.Errorf("not found in %d steps\nthe last that happened:\n%s", w.count.steps, w.last())
	case law != p.law:
		t.Errorf("step %d: found as %v; want %q\nthe last that happened:\n%s", w.count.steps, w.wrong, p.law, w.last())
	default:
		t.Logf("after %d steps: %v", w.count.steps, w.wrong)
		return p.law != ""
	}
	return false
}

// remindOfLongAgo gives every agent what the first one wrote down.
func remindOfLongAgo(w *world) error {
	file := filepath.Join(w.runDir, "links.json")
	switch w.agents {
	case 1:
		return nil
	case 2:
		return os.Link(file, file+".first") // what is written later is another file
	default:
		text, err := os.ReadFile(file + ".first")
		if err != nil {
			return err
		}
		return os.WriteFile(file, text, 0o600)
	}
}

// dropRedirected drops what comes to the agent.
func dropRedirected(w *world) error {
	return w.drop(toAddress, 169, 254)
}

// deafen drops what the API server sends to the agent when every pod has been
// served, gives each another identity, and has it ask when that must be known.
func deafen(w *world) error {
	w.settle()
	fabric := netip.MustParseAddr(localcluster.FabricAddress).As4()
	if err := w.drop(fromAddress, fabric[:]...); err != nil {
		return err
	}
	for _, name := range w.sorted() {
		p := w.pods[name]
		present := slices.Index(labels, p.labels[len(p.labels)-1].value)
		w.label(p, names[(present+1)%len(names)])
	}
	<-time.After(late + time.Second)
	for _, name := range w.sorted() { // its default, which is of the old label yet
		w.askFor(w.pods[name], model.Ask{Resource: vault})
	}
	return nil
}

// Where the IPv4 header has its addresses.
const (
	fromAddress = 12
	toAddress   = 16
)

// drop drops what comes to the node itself with an address that begins so, until
// the test ends.
func (w *world) drop(address uint32, prefix ...byte) error {
	table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: "somebody"}
	change := func(how func(*nftables.Conn)) error {
		return w.node.Do(func() error {
			conn, err := nftables.New()
			if err != nil {
				return err
			}
			how(conn)
			return conn.Flush()
		})
	}
	w.t.Cleanup(func() { w.must(change(func(conn *nftables.Conn) { conn.DelTable(table) })) })
	return change(func(conn *nftables.Conn) {
		conn.AddTable(table)
		chain := conn.AddChain(&nftables.Chain{
			Name: "drop", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
		})
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: address, Len: uint32(len(prefix))},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: prefix},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
	})
}

// spoofARP has the node take the thief's hardware address for the victim's, as
// after an answer to a question that was not the thief's to answer.
func spoofARP(w *world, thief, victim *pod) (func() error, error) {
	var hardware net.HardwareAddr
	if err := thief.Do(func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err == nil {
			hardware = eth0.Attrs().HardwareAddr
		}
		return err
	}); err != nil {
		return nil, err
	}
	neighbour := func(change func(*netlink.Neigh) error) error {
		return w.node.Do(func() error {
			bridge, err := netlink.LinkByName(w.node.Bridge)
			if err != nil {
				return err
			}
			return change(&netlink.Neigh{
				LinkIndex: bridge.Attrs().Index, Family: unix.AF_INET, State: netlink.NUD_REACHABLE, IP: victim.Addr.AsSlice(), HardwareAddr: hardware,
			})
		})
	}
	return func() error { return neighbour(netlink.NeighDel) }, neighbour(netlink.NeighSet)
}

// misroute has the node send what is for the victim to the thief, as a faulty
// network plugin does.
func misroute(w *world, thief, victim *pod) (func() error, error) {
	to := func(p *pod) error {
		return w.node.Do(func() error {
			link, err := netlink.LinkByName(p.Interface)
			if err != nil {
				return err
			}
			return netlink.RouteReplace(&netlink.Route{
				LinkIndex: link.Attrs().Index, Dst: netlink.NewIPNet(victim.Addr.AsSlice()), Scope: netlink.SCOPE_LINK, Src: w.node.Addr.AsSlice(),
			})
		})
	}
	return func() error { return to(victim) }, to(thief)
}
