package redirect_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/podid-io/podid/internal/redirect"
	"github.com/podid-io/podid/test/leaks"
	"github.com/podid-io/podid/test/localcluster"
)

// linkBook keeps what FollowLinks tells.
type linkBook struct {
	t     *testing.T
	block chan struct{} // if not nil, LinkUp waits until it is closed

	mu      sync.Mutex
	there   map[int]string
	since   map[int]time.Time // when links that came can have come, at the earliest
	routes  int               // how often RoutesChanged
	told    []string          // one word for each event of an interface
	early   int               // LinkUp with the zero time
	changed chan struct{}
}

func (b *linkBook) LinkUp(index int, hardware string, at time.Time) {
	if b.block != nil && !at.IsZero() {
		<-b.block
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if old, there := b.there[index]; there {
		if old == hardware {
			b.t.Errorf("link %d is up with %s, and up again", index, old)
		}
		b.there[index] = hardware
		b.tell(fmt.Sprintf("changed %s", hardware))
		return
	}
	b.there[index] = hardware
	if at.IsZero() {
		b.early++
	} else {
		if d := time.Until(at); d > 0 {
			b.t.Errorf("link %d comes in %s", index, d)
		}
		b.since[index] = at
	}
	b.tell(fmt.Sprintf("up %s", hardware))
}

func (b *linkBook) RoutesChanged() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.routes++
	b.tell("routes")
}

func (b *linkBook) LinkDown(index int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, there := b.there[index]; !there {
		b.t.Errorf("link %d is down and was not up", index)
	}
	b.tell(fmt.Sprintf("down %s", b.there[index]))
	delete(b.there, index)
}

func (b *linkBook) tell(word string) {
	b.told = append(b.told, word)
	close(b.changed)
	b.changed = make(chan struct{})
}

// look calls f while nothing is told.
func (b *linkBook) look(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// count counts an event. The caller holds mu.
func (b *linkBook) count(event string) (n int) {
	for _, word := range b.told {
		if word == event {
			n++
		}
	}
	return n
}

// ups is how many links came. The caller holds mu.
func (b *linkBook) ups() (n int) {
	for _, word := range b.told {
		if strings.HasPrefix(word, "up ") {
			n++
		}
	}
	return n
}

// await waits until the book satisfies ok.
func (b *linkBook) await(what string, ok func() bool) {
	b.t.Helper()
	deadline := time.After(time.Minute)
	for {
		b.mu.Lock()
		done, changed := ok(), b.changed
		b.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			b.mu.Lock()
			defer b.mu.Unlock()
			b.t.Fatalf("waited in vain until %s; told of %d events, at last %q", what, len(b.told), b.told[max(0, len(b.told)-10):])
		}
	}
}

// follow starts FollowLinks in the sandbox's own network and waits for the first
// list. The test's end ends it.
func follow(t *testing.T, b *linkBook) {
	t.Helper()
	localcluster.Require(t)
	b.t, b.there, b.since, b.changed = t, make(map[int]string), make(map[int]time.Time), make(chan struct{})
	left := leaks.Mark()
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- redirect.FollowLinks(ctx, b, func() { close(ready) }, slog.New(slog.DiscardHandler))
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := left(); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case <-time.After(time.Minute):
		t.Fatal("no list in a minute")
	}
}

// addVeth makes a veth pair, whose first end has the hardware address.
func addVeth(t *testing.T, name, hardware string, index int) netlink.Link {
	t.Helper()
	mac, err := net.ParseMAC(hardware)
	if err != nil {
		t.Fatal(err)
	}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, HardwareAddr: mac, Index: index}, PeerName: name + "x"}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(veth) }) // the test may have removed it
	return linkByName(t, name)
}

// actual is what there is, by index.
func actual(t *testing.T) map[int]string {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[int]string)
	for _, l := range links {
		out[l.Attrs().Index] = l.Attrs().HardwareAddr.String()
		if l.Attrs().Name == "lo" {
			out[l.Attrs().Index] = "00:00:00:00:00:00" // which the library leaves out
		}
	}
	return out
}

func TestFollowLinks(t *testing.T) {
	b := &linkBook{}
	follow(t, b)
	b.look(func() {
		if b.early != len(b.there) || b.early == 0 {
			t.Errorf("%d links were there before, told as such: %d", len(b.there), b.early)
		}
	})
	const first, second = "02:00:00:00:00:01", "02:00:00:00:00:02"
	l := addVeth(t, "one", first, 0)
	index := l.Attrs().Index
	b.await("the new link is told", func() bool { return b.there[index] == first })

	t.Run("a port that leaves its bridge is no link that goes", func(t *testing.T) {
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
		if err := netlink.LinkAdd(bridge); err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetMaster(l, bridge); err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetNoMaster(l); err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkDel(bridge); err != nil {
			t.Fatal(err)
		}
		b.await("the bridge came and went", func() bool { return b.count("down ") == 1 })
		b.look(func() {
			if b.count("down "+first) > 0 {
				t.Error("the port was told to be gone")
			}
		})
	})
	t.Run("another hardware address is the same link", func(t *testing.T) {
		mac, _ := net.ParseMAC(second)
		if err := netlink.LinkSetHardwareAddr(l, mac); err != nil {
			t.Fatal(err)
		}
		b.await("the change is told", func() bool { return b.there[index] == second })
		b.look(func() {
			if b.count("down "+first) > 0 {
				t.Error("the link was told to be gone")
			}
		})
	})
	t.Run("a route", func(t *testing.T) {
		if err := netlink.LinkSetUp(l); err != nil {
			t.Fatal(err)
		}
		before := 0
		b.look(func() { before = b.routes })
		_, to, _ := net.ParseCIDR("10.99.0.1/32")
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: index, Dst: to, Scope: netlink.SCOPE_LINK}); err != nil {
			t.Fatal(err)
		}
		b.await("it is told", func() bool { return b.routes > before })
	})
	t.Run("an index that is used again is another link", func(t *testing.T) {
		if err := netlink.LinkDel(l); err != nil {
			t.Fatal(err)
		}
		addVeth(t, "two", second, index)
		b.await("the old one is gone and the new one there", func() bool {
			return b.count("down "+second) == 1 && b.there[index] == second
		})
	})
}

// TestALinkIsNotMadeOldByEvents has links change all the time, as the owner of the
// other end of one can have them.
func TestALinkIsNotMadeOldByEvents(t *testing.T) {
	b := &linkBook{}
	follow(t, b)
	noisy := addVeth(t, "noisy", "02:00:00:00:03:00", 0)
	tick := time.Tick(20 * time.Millisecond)
	var noise time.Time  // it was going on then
	for i := range 150 { // for three seconds
		<-tick
		if err := netlink.LinkSetMTU(noisy, 1000+i); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			noise = time.Now()
		}
	}
	young := addVeth(t, "young", "02:00:00:00:03:01", 0)
	b.await("the young link is told", func() bool { return b.there[young.Attrs().Index] != "" })
	b.look(func() {
		if at := b.since[young.Attrs().Index]; at.Before(noise) {
			t.Errorf("a link that just came is told as %s old, as if there had been no quiet moment since %s ago", time.Since(at), time.Since(noise))
		}
	})
}

// TestLinksOverflow makes more events than the socket holds.
func TestLinksOverflow(t *testing.T) {
	b := &linkBook{block: make(chan struct{})}
	follow(t, b)
	gone := addVeth(t, "gone", "02:00:00:00:01:00", 0)
	for i := range 300 {
		name := fmt.Sprintf("flood%d", i)
		l := addVeth(t, name, fmt.Sprintf("02:00:00:00:02:%02x", i%256), 0)
		if i%3 == 0 {
			if err := netlink.LinkDel(l); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := netlink.LinkDel(gone); err != nil {
		t.Fatal(err)
	}
	want := actual(t)
	close(b.block)
	b.await("everything is told as it is", func() bool { return maps.Equal(b.there, want) })
	b.look(func() {
		if n := b.ups(); n > 590 {
			t.Errorf("%d links were told to come: no event was lost, and the test proves nothing", n)
		}
	})
}
