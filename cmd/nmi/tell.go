package main

import (
	"context"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/telemetry"
)

// startTelling serves what the agent tells of itself.
func (a *agent) startTelling(ctx context.Context, g *errgroup.Group, o *options) {
	health := http.NewServeMux()
	a.health.Register(health)
	telemetry.RegisterLevel(health, a.level, a.log)
	health.Handle("GET "+nmi.ExplainPath, a.explains)
	g.Go(func() error { return telemetry.Serve(ctx, "health", o.healthListen, health, a.log) })
	metrics := http.NewServeMux()
	metrics.Handle("GET /metrics", promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{}))
	g.Go(func() error { return telemetry.Serve(ctx, "metrics", o.metricsListen, metrics, a.log) })
	if o.pprofListen != "" {
		g.Go(func() error { return telemetry.Serve(ctx, "profiles", o.pprofListen, telemetry.Profiles(), a.log) })
	}
}
