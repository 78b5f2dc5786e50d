package nmi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/token"
)

// BenchmarkHandler is one token from a warm cache, audit on, without the
// network's share, from Classify to Write: by the real view of a node, fed with
// few pods and with many, by turns. The callers are always as many, from pods all
// over the node, since more of them cost the processor's caches and not nmi.
func BenchmarkHandler(b *testing.B) {
	const rounds, callers = 40, 30
	sizes := []int{30, 250, 5000}
	nodes := map[int]func(*testing.B){}
	for _, n := range sizes {
		nodes[n] = handlerOf(b, n, callers)
	}
	for range rounds {
		for _, n := range sizes {
			b.Run(fmt.Sprint(n), nodes[n])
		}
	}
}

// handlerOf makes the server of a node with n pods and returns a benchmark in
// which callers of them ask by turns.
func handlerOf(b *testing.B, n, callers int) func(*testing.B) {
	b.Helper()
	origins := connections{}
	s := benchServer(b, func(c *nmi.Config) { c.Pods, c.Origins = viewOf(b, n), origins })
	requests := make([]*http.Request, callers)
	for i := range requests {
		client, server := net.Pipe()
		b.Cleanup(func() { _ = errors.Join(client.Close(), server.Close()) })
		pod := i * n / callers
		origins[server] = nmi.Origin{Source: nodeAddr(pod), Interface: nodeLink(pod), RouteBack: nodeLink(pod), Destination: metadata}
		req, err := http.NewRequestWithContext(nmi.WithCaller(s, context.Background(), server), http.MethodGet, ask, nil)
		if err != nil {
			b.Fatal(err)
		}
		req.RequestURI, req.URL.Host = ask, ""
		req.Header["Metadata"] = []string{"true"}
		requests[i] = req
	}
	answer := &discard{header: http.Header{}}
	for _, req := range requests { // every token is there
		s.ServeHTTP(answer, req)
	}
	return func(b *testing.B) {
		b.Helper()
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			s.ServeHTTP(answer, requests[i%callers])
			i++
		}
		if answer.status != http.StatusOK {
			b.Fatalf("answered %d", answer.status)
		}
	}
}

// benchServer is a server over the real cache, with more requests a second
// allowed to one pod than it can make.
func benchServer(b *testing.B, edit func(*nmi.Config)) *nmi.Server {
	b.Helper()
	value := token.Secret(strings.Repeat("eyJhbGciOi", 160))
	source := constant{token.Token{Value: value, NotBefore: time.Now(), ExpiresOn: time.Now().Add(24 * time.Hour)}}
	metrics := nmi.NewMetrics(prometheus.NewRegistry())
	audit, err := nmi.NewAudit(nmi.AuditBuffered, io.Discard, metrics)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { audit.Run(ctx) })
	b.Cleanup(func() { cancel(); running.Wait() })
	c := nmi.Config{
		Tokens: token.NewCache(token.CacheConfig{Source: source}), Audit: audit, Metrics: metrics,
		Log: slog.New(slog.DiscardHandler), Metadata: metadata, PodRate: 1e9,
	}
	edit(&c)
	s, err := nmi.New(c)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// connections are where connections come from.
type connections map[net.Conn]nmi.Origin

func (c connections) Of(conn net.Conn) (nmi.Origin, error) { return c[conn], nil }

type constant struct{ token token.Token }

func (c constant) Token(context.Context, *token.Request) (token.Token, error) { return c.token, nil }

// discard is a ResponseWriter that keeps nothing but the status.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
