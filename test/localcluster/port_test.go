package localcluster_test

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podid-io/podid/test/localcluster"
)

// sharing has a listener share its port.
func sharing(_, _ string, raw syscall.RawConn) error {
	var err error
	return errors.Join(raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }), err)
}

func TestAHeldPortIsWhosSharesIt(t *testing.T) {
	for name, address := range map[string]string{"IPv4": "127.0.0.1", "IPv6": "::1"} {
		t.Run(name, func(t *testing.T) {
			held, release := hold(t, address)
			defer release()
			another, releaseAnother := hold(t, address)
			defer releaseAnother()
			if another == held {
				t.Errorf("%s is held twice", held)
			}
			if err := greeted(t, held); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("a connection while nobody listens: %v, want refused", err)
			}
			if l, err := net.Listen("tcp", held); !errors.Is(err, unix.EADDRINUSE) {
				t.Errorf("who does not share it listens at %v: %v, want in use", l, err)
			}
			l, err := (&net.ListenConfig{Control: sharing}).Listen(t.Context(), "tcp", held)
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() { // ends with the listener
				defer close(ended)
				for c, err := l.Accept(); err == nil; c, err = l.Accept() {
					_, _ = c.Write([]byte("h"))
					_ = c.Close()
				}
			}()
			for range 500 {
				if err := greeted(t, held); err != nil {
					t.Fatalf("a connection did not end at who listens: %v", err)
				}
			}
			_ = l.Close()
			<-ended
		})
	}
}

func hold(t *testing.T, address string) (held string, release func()) {
	t.Helper()
	at, release, err := localcluster.HoldPort(netip.MustParseAddr(address))
	if err != nil {
		t.Fatal(err)
	}
	return at.String(), release
}

// greeted connects and waits for a word.
func greeted(t *testing.T, address string) error {
	t.Helper()
	c, err := (&net.Dialer{Timeout: 30 * time.Second}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 1))
	return err
}
