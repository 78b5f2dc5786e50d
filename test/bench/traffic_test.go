package main

import (
	"io"
	"net"
	"testing"
	"time"
)

// serveOne accepts connections and does something with each.
func serveOne(t *testing.T, do func(*net.TCPConn)) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-done })
	go func() { // ends with l
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			do(c.(*net.TCPConn)) //nolint:forcetypeassert // of a TCP listener
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}

// A connection that ends may have its request sent again only when it was kept,
// and not a byte of an answer came.
func TestMayRetry(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	read := func(c *net.TCPConn) { _, _ = c.Read(make([]byte, 4096)) }
	say := func(text string) func(*net.TCPConn) {
		return func(c *net.TCPConn) { read(c); _, _ = io.WriteString(c, text) }
	}
	unread := func(c *net.TCPConn) { _, _ = c.Read(make([]byte, 1)) } // and the rest is there: a reset
	tests := map[string]struct {
		first func(*net.TCPConn) // what becomes of the first request, where there is one before
		then  func(*net.TCPConn) // and of the one that counts
		retry bool
		fails bool
	}{
		"closed as the request came, with all of it":  {first: say(ok), then: read, retry: true, fails: true},
		"closed as the request came, with some of it": {first: say(ok), then: unread, retry: true, fails: true},
		"the first one cut":                           {then: read, fails: true},
		"cut within the first line of the answer":     {first: say(ok), then: say("HTTP/1.1 2"), fails: true},
		"cut within the head of the answer":           {first: say(ok), then: say("HTTP/1.1 200 OK\r\nContent-Le"), fails: true},
		"cut before the body of the answer":           {first: say(ok), then: say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"), fails: true},
		"refused over a connection that is kept":      {first: say(ok), then: say("HTTP/1.1 429 Too Many\r\nContent-Length: 2\r\n\r\nno"), fails: true},
		"answered over a connection that is kept":     {first: say(ok), then: say(ok)},
		"answered over a connection of its own yet":   {then: say(ok)},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			to := serveOne(t, func(c *net.TCPConn) {
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				if tc.first != nil {
					tc.first(c)
				}
				tc.then(c)
			})
			k := keeper{from: "127.0.0.1", to: to}
			defer k.drop()
			if tc.first != nil {
				if _, err := k.ask(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			kept, err := k.ask(t.Context())
			if (err != nil) != tc.fails {
				t.Errorf("ask() = %v, want failure %t", err, tc.fails)
			}
			if got := mayRetry(kept, err); got != tc.retry {
				t.Errorf("mayRetry(%t, %v) = %t, want %t", kept, err, got, tc.retry)
			}
			if err != nil && k.conn != nil {
				t.Error("the connection is kept")
			}
		})
	}
}

// A connection that is known to be closed is not asked over.
func TestKeeperSeesTheEnd(t *testing.T) {
	to := serveOne(t, func(c *net.TCPConn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	})
	k := keeper{from: "127.0.0.1", to: to}
	defer k.drop()
	for range 2 {
		if kept, err := k.ask(t.Context()); kept || err != nil {
			t.Fatalf("ask() = %t, %v; want a new connection and an answer", kept, err)
		}
		if err := k.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := k.conn.in.Peek(1); err == nil { // the end has come
			t.Fatal("the server said more")
		}
	}
}
