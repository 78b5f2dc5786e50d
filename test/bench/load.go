package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// errAnswer is an answer other than 200.
	errAnswer = errors.New("answered")
	// errUnanswered is a connection that ended before the first byte of an answer.
	errUnanswered = errors.New("the connection ended without a byte of an answer")
)

// conn is a client that costs as little as it can: it writes one request as
// bytes and reads one answer, so that what is measured is the server.
type conn struct {
	net.Conn

	in      *bufio.Reader
	ask     []byte
	closing bool // the server said that it will close the connection
}

// request is what the SDKs send for a token.
func request(resource string) []byte {
	return fmt.Appendf(nil, "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=%s HTTP/1.1\r\nHost: 169.254.169.254\r\nMetadata: true\r\nUser-Agent: bench\r\nAccept: application/json\r\n\r\n", resource)
}

// dial connects from an address of a pod.
func dial(ctx context.Context, from, to string, ask []byte) (*conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(ctx, "tcp4", to)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, in: bufio.NewReaderSize(c, 8<<10), ask: ask}, nil
}

// do sends the request and returns the body of the answer, which must be 200.
func (c *conn) do(body []byte) ([]byte, error) {
	if _, err := c.Write(c.ask); err != nil {
		return nil, unanswered(err)
	}
	status, err := c.in.ReadSlice('\n')
	if err != nil {
		if len(status) == 0 {
			err = unanswered(err)
		}
		return nil, err
	}
	ok := len(status) > 12 && string(status[9:12]) == "200"
	said := string(status[:min(len(status), 16)])
	length := -1
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		if len(line) <= 2 {
			break
		}
		name, value, _ := strings.Cut(string(line), ": ")
		switch name {
		case "Content-Length":
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				return nil, err
			}
		case "Connection":
			c.closing = strings.TrimSpace(value) == "close"
		}
	}
	if length < 0 {
		return nil, errors.New("an answer without Content-Length")
	}
	body = slices.Grow(body[:0], length)[:length]
	if _, err := io.ReadFull(c.in, body); err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("%w %s: %s", errAnswer, said, body)
	}
	return body, nil
}

// ended reports whether the server is known to have closed the connection.
func (c *conn) ended() bool {
	tcp, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return true
	}
	over := false
	err = raw.Control(func(fd uintptr) {
		n, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		over = n <= 0 && !errors.Is(err, unix.EAGAIN)
	})
	return over || err != nil
}

// unanswered tells the end of a connection from other errors.
func unanswered(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("%w: %w", errUnanswered, err)
	}
	return err
}

// latencies asks n times in a row and returns how long each answer took.
func latencies(c *conn, n int) ([]time.Duration, error) {
	out := make([]time.Duration, n)
	var body []byte
	for i := range out {
		start := time.Now()
		var err error
		if body, err = c.do(body); err != nil {
			return nil, err
		}
		out[i] = time.Since(start)
	}
	return out, nil
}

// flood asks over connections from several pods at once, for a while, and
// returns how many answers came.
func flood(ctx context.Context, to string, from []string, ask []byte, d time.Duration) (int, error) {
	var g sync.WaitGroup
	counts, errs := make([]int, len(from)), make([]error, len(from))
	deadline := time.Now().Add(d)
	for i, addr := range from {
		g.Go(func() {
			c, err := dial(ctx, addr, to, ask)
			if err != nil {
				errs[i] = err
				return
			}
			defer func() { _ = c.Close() }()
			var body []byte
			for time.Now().Before(deadline) {
				if body, errs[i] = c.do(body); errs[i] != nil {
					return
				}
				counts[i]++
			}
		})
	}
	g.Wait()
	total := 0
	for _, n := range counts {
		total += n
	}
	return total, errors.Join(errs...)
}
