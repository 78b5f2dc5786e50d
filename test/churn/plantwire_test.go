package churn_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/podid-io/podid/test/churn/model"
)

// splitter gives the agent a new connection for each request.
type splitter struct {
	net.Listener
	inner *listener
}

// split starts a splitter; it ends with its listener.
func split(outer net.Listener, parts *sync.WaitGroup) net.Listener {
	s := &splitter{outer, listen()}
	server := &http.Server{
		Handler: s, ReadHeaderTimeout: model.SilentFor,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, splitter{}, c) },
	}
	parts.Go(func() { _ = server.Serve(outer) }) // ends with Close
	return s
}

func (s *splitter) Accept() (net.Conn, error) { return s.inner.Accept() }

func (s *splitter) Close() error { return errors.Join(s.Listener.Close(), s.inner.Close()) }

func (s *splitter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from, ok := r.Context().Value(splitter{}).(*wire)
	if !ok {
		return
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		far := *from
		return s.inner.dial(ctx, &far)
	}}
	again := r.Clone(r.Context())
	again.URL.Scheme, again.URL.Host = "http", "agent"
	response, err := transport.RoundTrip(again)
	if err != nil {
		return
	}
	w.WriteHeader(response.StatusCode)
	_, _ = io.Copy(w, response.Body) // who has left has left
	_ = response.Body.Close()        // read to its end
}

// shortLives closes connections when they have been there for a while.
type shortLives struct{ net.Listener }

func shortLived(l net.Listener) net.Listener { return shortLives{l} }

func (s shortLives) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err == nil {
		time.AfterFunc(20*time.Second, func() { _ = c.Close() })
	}
	return c, err
}

// readers have other deadlines to read by than the agent says.
type readers struct {
	net.Listener
	change func(time.Duration) time.Duration
}

func reading(change func(time.Duration) time.Duration) func(net.Listener) net.Listener {
	return func(l net.Listener) net.Listener { return readers{l, change} }
}

func (r readers) Accept() (net.Conn, error) {
	c, err := r.Listener.Accept()
	if w, ok := c.(*wire); ok {
		w.Conn = reader{w.Conn, r.change}
	}
	return c, err
}

type reader struct {
	net.Conn
	change func(time.Duration) time.Duration
}

func (r reader) SetReadDeadline(t time.Time) error {
	if d := time.Until(t); d > 0 {
		t = time.Now().Add(r.change(d))
	}
	return r.Conn.SetReadDeadline(t)
}

// hasty gives less time than there is to ask for the first time.
func hasty(d time.Duration) time.Duration { return min(d, 3*time.Second) }

func patient(time.Duration) time.Duration { return time.Hour }
