package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync/atomic"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/podid-io/podid/internal/entra"
	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/nodeview"
	"github.com/podid-io/podid/internal/redirect"
	"github.com/podid-io/podid/internal/telemetry"
	"github.com/podid-io/podid/internal/token"
)

// run makes an agent and runs it until ctx ends.
func (o *options) run(ctx context.Context) error {
	p, err := o.parse()
	if err != nil {
		return err
	}
	if o.pprofListen != "" {
		runtime.MemProfileRate = 512 << 10 // Go's default, which main has taken away
	}
	log, level, err := telemetry.NewLogger(os.Stderr, o.logLevel, o.logFormat)
	if err != nil {
		return err
	}
	telemetry.Bridge(log)
	sink, err := o.openAudit()
	if err != nil {
		return err
	}
	defer func() { _ = sink.Close() }() // flushed when the audit ended
	kernel, err := redirect.NewOrigins(redirect.OriginsConfig{Metadata: p.metadata.Addr(), AcceptBridges: o.acceptBridges})
	if err != nil {
		return err
	}
	defer kernel.Close()
	events, err := telemetry.NewPodEvents(context.WithoutCancel(ctx), p.rest, "podid-nmi") // ends with Close
	if err != nil {
		return err
	}
	defer events.Close()
	a := &agent{
		log: log, level: level, kernel: kernel, events: events, listen: p.listen,
		health:   telemetry.NewHealth(checkView, checkListener, checkNetwork),
		registry: prometheus.NewRegistry(),
		synced:   make(chan struct{}),
		ready:    make(chan struct{}),
	}
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := a.build(o, p, sink); err != nil {
		return err
	}
	if o.startupTaint != "" {
		if a.nodes, err = p.nodes(); err != nil {
			return err
		}
	}
	log.InfoContext(ctx, "nmi starts", "version", telemetry.Version(), "node", o.node, "mode", o.operationMode, "listen", p.listen.String(), "redirect", o.redirect)
	return a.run(ctx, o)
}

// build puts the rooms together: view, sources, cache, server, redirect.
func (a *agent) build(o *options, p parsed, sink io.Writer) error {
	azure, err := entra.Cloud(o.cloud)
	if err != nil {
		return fmt.Errorf("--cloud: %w", err)
	}
	rules := identity.Rules{
		AcrossNamespaces: o.acrossNamespaces, ExceptionNamespaces: o.exceptionNamespaces,
		DefaultAuthority: hostOf(azure.ActiveDirectoryAuthorityHost), AuthorityHosts: o.authorityHosts,
	}
	state := nmi.State{}
	if p.redirects {
		if err := a.buildRedirect(o, p, &state); err != nil {
			return err
		}
	}
	if err := a.buildView(o, p, rules); err != nil {
		return err
	}
	metadata, source, err := o.sources(p, rules)
	if err != nil {
		return err
	}
	grown := grows(source)
	a.called, a.cache = grown.called, token.NewCache(token.CacheConfig{Source: grown})
	metrics := nmi.NewMetrics(a.registry)
	state.ViewAge, state.Tokens = a.view.Age, a.cache.Stats
	nmi.RegisterState(a.registry, state)
	if a.audit, err = nmi.NewAudit(nmi.AuditMode(o.audit), sink, metrics); err != nil {
		return err
	}
	config := nmi.Config{
		Pods: a.view, Tokens: a.cache, Origins: origins{a.kernel}, Host: host{a.kernel},
		Secrets: a.secrets, Application: rules.Application,
		Upstream: metadata, PassThrough: p.passThrough,
		Events: podEvents{a.events}, Audit: a.audit, Metrics: metrics, Log: a.log,
		Hold: o.hold, PodRate: o.podRate, HeaderOptional: !o.headerRequired,
		Controller: nmi.Controller{
			Namespace: p.micNamespace, ServiceAccount: p.micAccount,
			ClientID: p.micClient, VM: p.micVM, Resources: o.resourceManager(azure),
		},
	}
	if p.redirects {
		config.Metadata = p.metadata
	}
	if a.server, err = nmi.New(config); err != nil {
		return err
	}
	a.explains = a.server.Explain(a.explainConfig(o, p, rules))
	return nil
}

// buildRedirect makes the redirect, and has its state told.
func (a *agent) buildRedirect(o *options, p parsed, state *nmi.State) error {
	stands, arrives := a.report(checkRedirect), a.report(checkCanary)
	var up, canary atomic.Bool
	var err error
	a.redirect, err = redirect.New(redirect.Config{
		Metadata: p.metadata, Listen: p.listen, Interval: o.redirectInterval, Log: a.log,
		Report:       func(err error) { up.Store(err == nil); stands(err) },
		ReportCanary: func(err error) { canary.Store(err == nil); arrives(err) },
	})
	if err != nil {
		return err
	}
	a.health.Set(checkRedirect, errStarting)
	a.health.Set(checkCanary, errStarting)
	state.Redirect, state.Canary = up.Load, canary.Load
	return nil
}

// buildView makes what the API server tells.
func (a *agent) buildView(o *options, p parsed, rules identity.Rules) error {
	boot, err := redirect.BootTime()
	if err != nil {
		return err
	}
	bootID := ""
	if o.runDir == "" {
		a.log.Warn("which pod is on which link is not remembered across restarts: mount a folder that a reboot empties and name it by --run-dir", "default", defaultRunDir)
	} else {
		id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if err != nil {
			return err
		}
		bootID = strings.TrimSpace(string(id))
	}
	a.view, a.watcher, err = nodeview.New(nodeview.Config{
		Node: o.node, REST: p.rest, Log: a.log, LinkOf: a.kernel.LinkOf, Boot: boot, BootID: bootID, RunDir: o.runDir,
		Managed: p.managed, Rules: rules, Report: a.report(checkView),
	})
	if err != nil {
		return err
	}
	a.secrets, err = nodeview.NewSecrets(p.rest, a.log)
	return err
}

// sources are the metadata service of the node, and where tokens come from.
func (o *options) sources(p parsed, rules identity.Rules) (*entra.IMDS, token.Source, error) {
	metadata, err := entra.NewIMDS(entra.IMDSConfig{Endpoint: p.imdsEndpoint})
	if err != nil {
		return nil, nil, err
	}
	var ca []byte
	if o.caFile != "" {
		if ca, err = os.ReadFile(o.caFile); err != nil {
			return nil, nil, fmt.Errorf("--ca-file: %w", err)
		}
	}
	applications, err := entra.NewApplications(entra.ApplicationsConfig{CA: ca, Allowed: func(authority string) bool {
		_, err := rules.Authority(authority)
		return err == nil
	}})
	if err != nil {
		return nil, nil, fmt.Errorf("--ca-file: %w", err)
	}
	return metadata, entra.Sources{Managed: metadata, Applications: applications}, nil
}

// resourceManager are the App-ID URIs of Azure Resource Manager: those given, or
// else those of the cloud.
func (o *options) resourceManager(c cloud.Configuration) []string {
	if len(o.armResources) > 0 {
		return trimSlashes(o.armResources)
	}
	arm := c.Services[cloud.ResourceManager]
	return trimSlashes([]string{arm.Endpoint, arm.Audience})
}

// hostOf is the host of a URL of ours.
func hostOf(u string) string {
	parsed, err := url.Parse(u)
	if err != nil {
		return ""
	}
	return parsed.Host
}

func (o *options) uninstallRedirect() error {
	p, err := o.parseRedirect()
	if err != nil {
		return err
	}
	r, err := redirect.New(redirect.Config{Metadata: p.metadata, Listen: p.listen, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	return r.Remove()
}

// stay says where the agent's readiness is asked that the redirect is off the
// node, until ctx ends: the probe of a DaemonSet serves for both.
func (o *options) stay(ctx context.Context) error {
	mux, health := http.NewServeMux(), telemetry.NewHealth()
	health.Set("redirect-off", nil)
	health.Register(mux)
	return telemetry.Serve(ctx, "health", o.healthListen, mux, slog.New(slog.NewTextHandler(os.Stderr, nil)))
}

// origins gives nmi what the kernel knows, in nmi's words.
type origins struct{ kernel *redirect.Origins }

func (o origins) Of(c net.Conn) (nmi.Origin, error) {
	origin, err := o.kernel.Of(c)
	return nmi.Origin(origin), err
}

// host gives nmi what the kernel knows of processes of the node.
type host struct{ kernel *redirect.Origins }

func (h host) OfLoopback(c net.Conn) (bool, error) { return h.kernel.OfLoopback(c) }
func (host) PeerUID(c net.Conn) (uint32, error)    { return redirect.PeerUID(c) }

// podEvents makes Events of what nmi tells of pods.
type podEvents struct{ events *telemetry.PodEvents }

func (e podEvents) Warn(pod identity.Pod, reason, message string) {
	e.events.Warn(pod.Namespace, pod.Name, pod.UID, reason, "GetToken", message)
}

func trimSlashes(list []string) []string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		out = append(out, strings.TrimRight(s, "/"))
	}
	return out
}
