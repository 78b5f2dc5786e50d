package nmi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/nodeview"
	"github.com/podid-io/podid/internal/token"
)

// BenchmarkHandler is one token from a warm cache, audit on, without the
// network's share, from Classify to Write: by the real view of a node, fed with
// few pods and with many, by turns. Each pod has an identity and a token of its
// own, which is in the cache. Of a number of pods, all ask by turns in a random
// order; of the same number "some30", only 30 of them do, drawn at random. So
// the one tells what a request costs on such a node, and the other what nmi has
// to do for it where the processor's caches hold what the callers need.
func BenchmarkHandler(b *testing.B) {
	const rounds, some = 20, 30
	sizes := []int{30, 250, 5000}
	all, few := map[int]func(*testing.B){}, map[int]func(*testing.B){}
	for _, n := range sizes {
		s, callers := handlerOf(b, n)
		all[n], few[n] = asking(s, callers), asking(s, callers[:some])
	}
	for range rounds {
		for _, n := range sizes {
			b.Run(fmt.Sprint(n), all[n])
			b.Run(fmt.Sprint(n, "some", some), few[n])
		}
	}
}

// handlerOf makes the server of a node with n pods, and a connection of each of
// them, which has its first request behind it. Their order is random, and always
// the same.
func handlerOf(b *testing.B, n int) (*nmi.Server, []context.Context) {
	b.Helper()
	view := viewOf(b, n)
	source := &always{expires: time.Now().Add(24 * time.Hour).Round(0)}
	origins := make(connections, n)
	s := benchServer(b, func(c *nmi.Config) { c.Pods, c.Origins, c.Tokens = view, origins, filled(b, source, view) })
	callers := make([]context.Context, n)
	req := benchRequest(b)
	order := rand.New(rand.NewPCG(1, uint64(n))).Perm(n)
	for i, at := range order {
		client, server := net.Pipe()
		b.Cleanup(func() { _ = errors.Join(client.Close(), server.Close()) })
		origins[server] = nmi.Origin{Source: nodeAddr(i), Interface: nodeLink(i), RouteBack: nodeLink(i), Destination: metadata}
		callers[at] = nmi.WithCaller(s, context.Background(), server) //nolint:fatcontext // each is of its own connection
		answer := &discard{header: http.Header{}}
		if s.ServeHTTP(answer, req.WithContext(callers[at])); answer.status != http.StatusOK || source.calls.Load() != int64(n) {
			b.Fatalf("pod %d of %d is answered %d, after %d calls of the source", i, n, answer.status, source.calls.Load())
		}
	}
	return s, callers
}

// benchRequest is what all pods send.
func benchRequest(b *testing.B) *http.Request {
	b.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, ask, nil)
	if err != nil {
		b.Fatal(err)
	}
	req.RequestURI, req.URL.Host = ask, ""
	req.Header["Metadata"] = []string{"true"}
	return req
}

// asking is a benchmark in which callers ask by turns, from where the last round
// of it left off. What is of one request alone, and not of its connection, is new
// each time: it has just been read from the network.
func asking(s *nmi.Server, callers []context.Context) func(*testing.B) {
	next := 0
	return func(b *testing.B) {
		b.Helper()
		b.ReportAllocs()
		req, answer := benchRequest(b), &discard{header: http.Header{}}
		for b.Loop() {
			if s.ServeHTTP(answer, req.WithContext(callers[next])); answer.status != http.StatusOK {
				b.Fatalf("answered %d", answer.status)
			}
			if next++; next == len(callers) {
				next = 0
			}
		}
	}
}

// filled is a cache with the token of each identity of a node. It is filled where
// time passes by itself: a cache asks its source for no more than 16 tokens a
// second, and 5,000 would take minutes.
func filled(b *testing.B, source token.Source, view *nodeview.View) *token.Cache {
	b.Helper()
	const most = 8192 // the default is fewer than 5,000 pods need
	cache := token.NewCache(token.CacheConfig{Source: source, MaxEntries: most})
	pods, _ := view.All()
	fill := func(t *testing.T) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			for i := range pods {
				id := pods[i].Grants[0].Identity
				if _, err := cache.Token(t.Context(), &token.Request{Type: id.Type, ClientID: id.ClientID, ResourceID: id.ResourceID, Resource: "https://vault.azure.net"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	every := func(string, string) (bool, error) { return true, nil }
	if !testing.RunTests(every, []testing.InternalTest{{Name: "Fill", F: fill}}) { // a benchmark has no other way to synctest
		b.Fatal("the cache cannot be filled")
	}
	return cache
}

// benchServer is a server with more requests a second allowed to one pod than it
// can make.
func benchServer(b *testing.B, edit func(*nmi.Config)) *nmi.Server {
	b.Helper()
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
		Audit: audit, Metrics: metrics, Log: slog.New(slog.DiscardHandler), Metadata: metadata, PodRate: 1e9,
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

// always is a source that has a token for everybody, each in memory of its own
// and as long as real ones are.
type always struct {
	expires time.Time
	calls   atomic.Int64
}

func (a *always) Token(_ context.Context, r *token.Request) (token.Token, error) {
	a.calls.Add(1)
	return token.Token{Value: token.Secret(r.ClientID + strings.Repeat("eyJhbGciOi", 160)), ExpiresOn: a.expires}, nil
}

// discard is a ResponseWriter that keeps nothing but the status.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
