package redirect_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/podid-io/podid/internal/redirect"
	"github.com/podid-io/podid/test/localcluster"
)

// helperEnv makes the test binary a program that a test runs.
const helperEnv = "PODID_TEST_HELPER"

// helper is the main of such a program; ok is false when it is a test.
func helper() (code int, ok bool) {
	words := strings.Fields(os.Getenv(helperEnv))
	if len(words) == 0 {
		return 0, false
	}
	switch words[0] {
	case "dial":
		return dialHelper(words[1]), true
	case "agent":
		return agentHelper(words[1]), true
	}
	return 1, true
}

// dialHelper connects, and holds the connection until its standard input ends.
func dialHelper(address string) int {
	c, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = c.Close() }()
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// accepted listens at the address and returns the first connection, which dial
// makes to the listener's address.
func accepted(t *testing.T, address string, dial func(address string)) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	dial(l.Addr().String())
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// dialFromHere connects from this program.
func dialFromHere(t *testing.T) (dial func(string), client *net.Conn) {
	t.Helper()
	client = new(net.Conn)
	return func(address string) {
		var err error
		if *client, err = net.Dial("tcp", address); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = (*client).Close() })
	}, client
}

func TestPeerUIDTellsWhoIsAtTheOtherEnd(t *testing.T) {
	localcluster.Require(t)
	if os.Getuid() != 0 {
		t.Fatal("the sandbox has a root that is not root")
	}
	for name, address := range map[string]string{"IPv4": "127.0.0.1:0", "IPv6": "[::1]:0", "IPv4 at a socket for both": "[::]:0"} {
		t.Run(name+", root", func(t *testing.T) {
			dial, _ := dialFromHere(t)
			c := accepted(t, address, func(a string) {
				if address == "[::]:0" {
					_, port, _ := net.SplitHostPort(a)
					a = "127.0.0.1:" + port
				}
				dial(a)
			})
			if uid, err := redirect.PeerUID(c); err != nil || uid != 0 {
				t.Errorf("the owner is %d (%v), want root", uid, err)
			}
		})
		t.Run(name+", somebody else", func(t *testing.T) {
			c := accepted(t, strings.Replace(address, "[::]", "127.0.0.1", 1), func(a string) { dialAs(t, 1234, a) })
			if uid, err := redirect.PeerUID(c); err != nil || uid != 1234 {
				t.Errorf("the owner is %d (%v), want 1234", uid, err)
			}
		})
	}
}

// dialAs connects from a program of another user.
func dialAs(t *testing.T, uid uint32, address string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), helperEnv+"=dial "+address)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid, NoSetGroups: true}}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
}

// TestPeerUIDIsNotGuessed: the kernel calls a socket root's that nobody owns any
// more. An attacker would connect, send a request and close.
func TestPeerUIDIsNotGuessed(t *testing.T) {
	localcluster.Require(t)
	for name, spoil := range map[string]func(*testing.T, *net.TCPConn){
		"the other end was closed": func(t *testing.T, c *net.TCPConn) {
			t.Helper()
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		},
		"the other end was closed for writing": func(t *testing.T, c *net.TCPConn) {
			t.Helper()
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
		},
		"the other end was reset": func(t *testing.T, c *net.TCPConn) {
			t.Helper()
			if err := c.SetLinger(0); err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
			t.Run(name+" at "+address, func(t *testing.T) {
				dial, client := dialFromHere(t)
				c := accepted(t, address, dial)
				spoil(t, (*client).(*net.TCPConn))
				_, _ = c.Read(make([]byte, 1)) // the end has arrived
				if uid, err := redirect.PeerUID(c); err == nil {
					t.Errorf("the owner is %d, want an error", uid)
				}
			})
		}
	}
	t.Run("an address that is no loopback address", func(t *testing.T) {
		if err := netlink.AddrAdd(loopback(t), &netlink.Addr{IPNet: netlink.NewIPNet(net.IPv4(10, 250, 0, 1))}); err != nil {
			t.Fatal(err)
		}
		dial, _ := dialFromHere(t)
		if uid, err := redirect.PeerUID(accepted(t, "10.250.0.1:0", dial)); err == nil {
			t.Errorf("the owner is %d, want an error", uid)
		}
	})
	t.Run("no TCP connection", func(t *testing.T) {
		a, b := net.Pipe()
		defer func() { _, _ = a.Close(), b.Close() }()
		if uid, err := redirect.PeerUID(a); err == nil {
			t.Errorf("the owner is %d, want an error", uid)
		}
	})
}

func loopback(t *testing.T) netlink.Link {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	return lo
}

func TestOfLoopback(t *testing.T) {
	localcluster.Require(t)
	origins, err := redirect.NewOrigins(redirect.OriginsConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer origins.Close()
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		dial, _ := dialFromHere(t)
		if ok, err := origins.OfLoopback(accepted(t, address, dial)); err != nil || !ok {
			t.Errorf("a connection to %s is of loopback: %t, %v", address, ok, err)
		}
	}
	if err := netlink.AddrAdd(loopback(t), &netlink.Addr{IPNet: netlink.NewIPNet(net.IPv4(10, 250, 0, 2))}); err != nil {
		t.Fatal(err)
	}
	dial, _ := dialFromHere(t)
	if ok, err := origins.OfLoopback(accepted(t, "10.250.0.2:0", dial)); err != nil || ok {
		t.Errorf("a connection of the node's own address is of loopback: %t, %v", ok, err)
	}
}

// TestPodsAreNotLoopback has a pod connect to a listener on all of the node's
// addresses.
func TestPodsAreNotLoopback(t *testing.T) {
	n := newNetwork(t)
	var l net.Listener
	var origins *redirect.Origins
	if err := n.node.Do(func() (err error) {
		if origins, err = redirect.NewOrigins(redirect.OriginsConfig{}); err != nil {
			return err
		}
		l, err = net.Listen("tcp", ":2600")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer origins.Close()
	defer func() { _ = l.Close() }()
	client, err := n.a.DialContext(t.Context(), "tcp", n.node.Addr.String()+":2600")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if ok, err := origins.OfLoopback(c); err != nil || ok {
		t.Errorf("a pod's connection from %s is of loopback: %t, %v", c.RemoteAddr(), ok, err)
	}
	if uid, err := redirect.PeerUID(c); err == nil {
		t.Errorf("a pod's connection from %s has the owner %d", c.RemoteAddr(), uid)
	}
}

func linkByName(t *testing.T, name string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestBootTime(t *testing.T) {
	before := time.Now()
	got, err := redirect.BootTime()
	if err != nil {
		t.Fatal(err)
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		t.Fatal(err)
	}
	// All three clocks were read between the two moments.
	want, took := before.Add(-time.Duration(info.Uptime)*time.Second), time.Since(before)
	if d := got.Sub(want).Abs(); d > took+3*time.Second {
		t.Errorf("booted %s, want about %s", got, want)
	}
}
