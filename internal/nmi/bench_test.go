package nmi_test

import (
	"context"
	"errors"
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

// BenchmarkWarm is one token from a warm cache, audit on, without the network's
// share: from Classify to Write.
func BenchmarkWarm(b *testing.B) {
	w := newWorld()
	w.token.Value = token.Secret(strings.Repeat("eyJhbGciOi", 160))
	w.token.ExpiresOn = time.Now().Add(24 * time.Hour)
	cache := token.NewCache(token.CacheConfig{Source: constant{w.token}})
	metrics := nmi.NewMetrics(prometheus.NewRegistry())
	audit, err := nmi.NewAudit(nmi.AuditBuffered, io.Discard, metrics)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() { audit.Run(ctx) })
	defer func() { cancel(); running.Wait() }()
	s, err := nmi.New(nmi.Config{
		Pods: w, Tokens: cache, Origins: w, Audit: audit, Metrics: metrics,
		Log: slog.New(slog.DiscardHandler), Metadata: metadata,
	})
	if err != nil {
		b.Fatal(err)
	}
	client, server := net.Pipe()
	defer func() { _ = errors.Join(client.Close(), server.Close()) }()
	req, err := http.NewRequestWithContext(nmi.WithCaller(s, ctx, server), http.MethodGet, ask, nil)
	if err != nil {
		b.Fatal(err)
	}
	req.RequestURI, req.URL.Host = ask, ""
	req.Header["Metadata"] = []string{"true"}
	answer := &discard{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		s.ServeHTTP(answer, req)
	}
	if answer.status != http.StatusOK {
		b.Fatalf("answered %d", answer.status)
	}
}

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
