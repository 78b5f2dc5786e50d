package redirect_test

import (
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/internal/redirect"
	"github.com/podid-io/podid/test/localcluster"
)

// packet is a TCP segment without data as a program with raw sockets writes it.
func packet(from, to netip.AddrPort, flags byte) []byte {
	b := make([]byte, 40)
	b[0], b[3], b[8], b[9] = 0x45, 40, 64, unix.IPPROTO_TCP
	copy(b[12:], from.Addr().AsSlice())
	copy(b[16:], to.Addr().AsSlice())
	tcp := b[20:]
	binary.BigEndian.PutUint16(tcp[0:], from.Port())
	binary.BigEndian.PutUint16(tcp[2:], to.Port())
	binary.BigEndian.PutUint32(tcp[4:], 1000)
	binary.BigEndian.PutUint32(tcp[8:], 2000)
	tcp[12], tcp[13], tcp[14] = 0x50, flags, 0xff
	sum := func(b []byte) uint16 {
		var s uint32
		for i := 0; i < len(b); i += 2 {
			s += uint32(binary.BigEndian.Uint16(b[i:]))
		}
		for s > 0xffff {
			s = s>>16 + s&0xffff
		}
		return ^uint16(s)
	}
	binary.BigEndian.PutUint16(b[10:], sum(b[:20]))
	pseudo := append([]byte{0, unix.IPPROTO_TCP, 0, 20}, b[12:20]...)
	binary.BigEndian.PutUint16(tcp[16:], sum(append(pseudo, tcp...)))
	return b
}

// sendRaw writes a frame to an interface of the calling thread's network; the
// receiver is whoever has the hardware address.
func sendRaw(t *testing.T, link string, to net.HardwareAddr, payload []byte) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	where := &unix.SockaddrLinklayer{Ifindex: linkByName(t, link).Attrs().Index, Halen: 6, Protocol: binary.NativeEndian.Uint16([]byte{8, 0})}
	copy(where.Addr[:], to)
	if err := unix.Sendto(fd, payload, 0, where); err != nil {
		t.Fatal(err)
	}
}

// hardwareOf is the address of an interface in a network.
func hardwareOf(t *testing.T, do func(func() error) error, link string) (mac net.HardwareAddr) {
	t.Helper()
	if err := do(func() error {
		mac = linkByName(t, link).Attrs().HardwareAddr
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return mac
}

// TestForgedPackets has others send packets in the name of pod a.
func TestForgedPackets(t *testing.T) {
	n := newNetwork(t)
	a := startAgent(t, n.node, "nmi")
	a.tell("run")
	a.await("canary <nil>")
	if err := n.node.Do(countArrivals); err != nil {
		t.Fatal(err)
	}
	here := func(f func() error) error { return f() }
	canary := netip.MustParseAddr("169.254.25.80")
	for name, test := range map[string]struct {
		from       func(func() error) error
		link       string
		to         net.HardwareAddr
		pretending netip.Addr
	}{
		"a neighbour":                        {n.b.Do, "eth0", hardwareOf(t, n.node.Do, n.b.Interface), n.a.Addr},
		"a machine of the node's network":    {here, "node1", hardwareOf(t, n.node.Do, "eth0"), n.a.Addr},
		"a pod that plays the canary":        {n.b.Do, "eth0", hardwareOf(t, n.node.Do, n.b.Interface), canary},
		"a machine that plays the canary":    {here, "node1", hardwareOf(t, n.node.Do, "eth0"), canary},
		"a pod with an address of the node":  {n.b.Do, "eth0", hardwareOf(t, n.node.Do, n.b.Interface), n.node.Addr},
		"a pod with a loopback address":      {n.b.Do, "eth0", hardwareOf(t, n.node.Do, n.b.Interface), netip.MustParseAddr("127.0.0.1")},
		"a pod with the agent's own address": {n.b.Do, "eth0", hardwareOf(t, n.node.Do, n.b.Interface), redirect.DefaultListen.Addr()},
	} {
		t.Run(name, func(t *testing.T) {
			before, forgedBefore := arrivals(t, n.node)
			if err := test.from(func() error {
				forge(t, test.link, test.to, test.pretending)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if _, got := arrivals(t, n.node); got != forgedBefore {
				t.Errorf("%d forged packets arrived", got-forgedBefore)
			}
			if got := whoAnswers(t, n.a, answer); got != "nmi" {
				t.Errorf("%q answers pod a", got)
			}
			if got, _ := arrivals(t, n.node); got == before {
				t.Error("the packets of pod a are not counted: the check above proves nothing")
			}
		})
	}
}

// forge sends packets of every kind in the name of an address, to the metadata
// service and to the agent itself, from the calling thread's network, from ports
// that tell them from the late packets of a connection.
func forge(t *testing.T, link string, to net.HardwareAddr, pretending netip.Addr) {
	t.Helper()
	for port := uint16(20000); port < 20050; port++ {
		for _, dst := range []netip.AddrPort{redirect.DefaultMetadata, redirect.DefaultListen} {
			for _, flags := range []byte{0x02, 0x10, 0x18, 0x04} { // SYN; ACK; PSH and ACK; RST
				sendRaw(t, link, to, packet(netip.AddrPortFrom(pretending, port), dst, flags))
			}
		}
	}
}

// TestARPSpoofingBehindABridge has pod b take the address of pod a on a bridge.
// It works, and that is why pods there get no token: their addresses have no
// link, unless somebody accepts the risk.
func TestARPSpoofingBehindABridge(t *testing.T) {
	localcluster.Require(t)
	cluster, err := localcluster.Start(t.Context(), localcluster.Config{
		Dir: t.TempDir(), Nodes: []localcluster.NodeConfig{{Name: "node", Bridge: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	c, err := client.New(cluster.REST(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := network{node: cluster.Node("node")}
	for name, p := range map[string]**localcluster.Pod{"a": &n.a, "b": &n.b} {
		if err := c.Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.example/c:1"}}},
		}); err != nil {
			t.Fatal(err)
		}
		if *p, err = cluster.Pod(t.Context(), "default", name); err != nil {
			t.Fatal(err)
		}
	}
	r, err := redirect.New(redirect.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var l net.Listener
	var refusing, accepting *redirect.Origins
	if err := n.node.Do(func() (err error) {
		if l, err = r.Listen(t.Context()); err != nil {
			return err
		}
		if err = r.Ensure(); err != nil {
			return err
		}
		if refusing, err = redirect.NewOrigins(redirect.OriginsConfig{}); err != nil {
			return err
		}
		accepting, err = redirect.NewOrigins(redirect.OriginsConfig{AcceptBridges: true})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = l.Close()
		refusing.Close()
		accepting.Close()
	})
	if err := n.b.Do(func() error { // the victim is there, and silent for the moment
		return netlink.AddrAdd(linkByName(t, "eth0"), &netlink.Addr{IPNet: netlink.NewIPNet(n.a.Addr.AsSlice())})
	}); err != nil {
		t.Fatal(err)
	}
	var thief net.Conn
	if err := n.b.Do(func() (err error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: n.a.Addr.AsSlice()}, Timeout: answer}
		thief, err = d.DialContext(t.Context(), "tcp4", redirect.DefaultMetadata.String())
		return err
	}); err != nil {
		t.Fatalf("the attack fails by itself, and proves nothing: %v", err)
	}
	defer func() { _ = thief.Close() }()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if o, err := accepting.Of(conn); err != nil || o.Source != n.a.Addr || o.Interface == 0 || o.RouteBack != o.Interface {
		t.Errorf("with bridges accepted, the thief is %+v (%v), want it taken for pod a", o, err)
	}
	if o, err := refusing.Of(conn); err != nil || o.RouteBack != 0 {
		t.Errorf("by default, the thief is %+v (%v), want no way back: it is refused", o, err)
	}
	pods := []netip.Addr{n.a.Addr, n.b.Addr}
	if err := accepting.Survey(pods); err != nil {
		t.Errorf("with bridges accepted, the survey says: %v", err)
	}
	want := "pods of this node share an interface, bridge cbr0 (2): one of them can take the address of another there, and with it its identity, so they get no token; " +
		"give each pod a link of its own, or accept the risk for bridges with --accept-bridged-pods"
	if err := refusing.Survey(pods); err == nil || err.Error() != want {
		t.Errorf("by default, the survey says: %v\nwant: %s", err, want)
	}
}
