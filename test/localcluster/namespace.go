package localcluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// threadNamespace is the network namespace of the calling thread. (/proc/self
// would be that of the main thread, which may be visiting another one.)
const threadNamespace = "/proc/thread-self/ns/net"

// namespace is a network namespace, held by an open file alone: nothing is
// mounted, and the kernel takes it away when the file is closed and the last
// program in it has ended. A nil namespace is the caller's own.
type namespace struct {
	file    *os.File
	netlink *netlink.Handle // bound to this namespace, whatever thread uses it

	gone context.Context // done when the namespace is closed
	end  context.CancelFunc
}

// newNamespace makes a network namespace with lo up.
func newNamespace() (*namespace, error) {
	n := &namespace{}
	n.gone, n.end = context.WithCancel(context.Background()) // close ends it, no caller does
	err := apart(func() error {
		return visiting(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, n.openCurrent)
	})
	if err != nil {
		n.close()
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	return n, nil
}

// currentNamespace holds the network namespace of the calling thread.
func currentNamespace() (*namespace, error) {
	n := &namespace{}
	n.gone, n.end = context.WithCancel(context.Background()) // close ends it, no caller does
	if err := apart(n.openCurrent); err != nil {
		n.close()
		return nil, fmt.Errorf("open the network namespace: %w", err)
	}
	return n, nil
}

// openCurrent takes hold of the calling thread's namespace and brings lo up.
func (n *namespace) openCurrent() error {
	var err error
	if n.file, err = os.Open(threadNamespace); err != nil {
		return err
	}
	if n.netlink, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return err
	}
	lo, err := n.netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := n.netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

// close ends the programs in the namespace and lets go of it.
func (n *namespace) close() {
	n.end()
	if n.netlink != nil {
		n.netlink.Close()
	}
	if n.file != nil {
		_ = n.file.Close() // only read from
	}
}

// do runs fn on a thread that is in the namespace. Sockets that fn opens stay
// there; goroutines that it starts do not run there.
func (n *namespace) do(fn func() error) error {
	return apart(func() error { return n.locked(fn) })
}

// locked is do on the calling goroutine, which must end soon after: if the way
// back fails, it stays locked, so that its thread ends with it and never
// serves another goroutine from the wrong namespace.
func (n *namespace) locked(fn func() error) error {
	if n == nil {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		return fn()
	}
	return visiting(n.enter, fn)
}

// enter moves the calling thread into the namespace.
func (n *namespace) enter() error {
	raw, err := n.file.SyscallConn()
	if err != nil {
		return err
	}
	var entered error
	if err := raw.Control(func(fd uintptr) { entered = unix.Setns(int(fd), unix.CLONE_NEWNET) }); err != nil {
		return err
	}
	return entered
}

// visiting locks the goroutine to its thread, moves the thread by enter, runs
// fn and moves it back.
func visiting(enter, fn func() error) error {
	runtime.LockOSThread()
	home, err := os.Open(threadNamespace)
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	if err := enter(); err != nil {
		_ = home.Close()
		runtime.UnlockOSThread()
		return fmt.Errorf("enter the network namespace: %w", err)
	}
	defer func() {
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		_ = home.Close()
	}()
	return fn()
}

// apart runs fn on a goroutine of its own and waits for it, also when fn ends
// the goroutine, as the Fatal of a test does.
func apart(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		err := errors.New("the function ended its goroutine")
		defer func() { result <- err }()
		err = fn()
	}()
	return <-result
}

// dial connects from inside the namespace. The address must be an IP address
// and a port: names are resolved on other threads, outside.
func (n *namespace) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("dial from a network namespace: want an IP address and a port: %w", err)
	}
	var conn net.Conn
	err := n.do(func() error {
		var err error
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// sysctl sets a network setting of the namespace, for example
// "ipv4/ip_forward". The kernel resolves /proc/sys/net by the thread.
func (n *namespace) sysctl(name, value string) error {
	return n.do(func() error {
		err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o600) // the mode is for a new file, and it is none
		if err != nil {
			return fmt.Errorf("set net/%s to %s: %w", name, value, err)
		}
		return nil
	})
}

// borrow returns the namespace for a tenant, whose programs end with it. Only
// end may be called on what it returns, not close.
func (n *namespace) borrow() *namespace {
	tenant := &namespace{file: n.file, netlink: n.netlink}
	tenant.gone, tenant.end = context.WithCancel(n.gone)
	return tenant
}
