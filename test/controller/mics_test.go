package controller_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/compute"
	"github.com/podid-io/podid/internal/entra"
	"github.com/podid-io/podid/internal/mic"
	"github.com/podid-io/podid/internal/mic/assignment"
)

// Short times, so that a story has more in it.
const (
	firstRetry = 200 * time.Millisecond
	quarantine = time.Second
)

// replica is one mic, as its pod would run it: all that is real but for the
// process, for which its line stands. So one can be killed at any request, a
// hundred times a minute, and the race detector sees all.
type replica struct {
	*line

	stop    context.CancelFunc
	ended   chan struct{}
	leading atomic.Bool
}

// start starts another mic.
func (w *world) start() {
	w.t.Helper()
	w.started++
	r := &replica{line: newLine(w, fmt.Sprintf("mic-%d", w.started)), ended: make(chan struct{})}
	dir := w.t.TempDir()
	must(w.t, w.plane.TokenKubeconfig(w.t.Context(), system, "podid-mic", filepath.Join(dir, "kubeconfig")))
	rest, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "kubeconfig"))
	must(w.t, err)
	rest.QPS, rest.Burst = 100, 200
	rest.Wrap(func(next http.RoundTripper) http.RoundTripper { return wire{line: r.line, RoundTripper: next} })
	config := mic.Config{
		REST: rest, Machines: w.plant.wrap(w.machines.of(r.line)), Namespace: system, Log: slog.New(ear{w: w, r: r}),
		Window: 50 * time.Millisecond, KeepWarm: w.warm, CheckInterval: 2 * time.Second, DriftInterval: 500 * time.Millisecond,
		Retry: firstRetry, Quarantine: quarantine, Immutable: []string{w.immutable},
		Election: mic.Election{LeaseDuration: 30 * time.Second, RetryPeriod: 300 * time.Millisecond}, // which a busy machine renews in time
	}
	if w.plant.config != nil {
		w.plant.config(&config)
	}
	c, err := mic.New(config)
	must(w.t, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(w.t.Context())) // world.end ends it at the latest
	r.stop = stop
	go func() { // ends with stop
		defer close(r.ended)
		if err := c.Run(ctx); err != nil && r.dead.Err() == nil {
			w.fail(fmt.Errorf("%s ended by itself: %w", r.name, err))
		}
	}()
	w.replicas = append(w.replicas, r)
	w.say("%s starts", r.name)
}

// bury takes away what is left of mics that are gone, and starts others.
func (w *world) bury() {
	w.t.Helper()
	var alive, gone []*replica
	for _, r := range w.replicas {
		if r.dead.Err() == nil {
			alive = append(alive, r)
		} else {
			gone = append(gone, r)
		}
	}
	w.replicas = alive
	for _, r := range gone {
		r.stop()
		<-r.ended
		w.expire(r.held())
		w.start()
	}
}

// expire has the Lease run out that a dead mic held, as it would with time.
func (w *world) expire(holder string) {
	w.t.Helper()
	lease := &coordinationv1.Lease{}
	must(w.t, client.IgnoreNotFound(w.api.Get(w.t.Context(), client.ObjectKey{Namespace: system, Name: mic.DefaultLease}, lease)))
	if holder == "" || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity != holder {
		return
	}
	lease.Spec.HolderIdentity = new("")
	if err := w.api.Update(w.t.Context(), lease); err != nil && !apierrors.IsConflict(err) { // then somebody else has it
		w.fail(err)
	}
}

// leader is the mic that leads, nil while none does.
func (w *world) leader() *replica {
	for _, r := range w.replicas {
		if r.leading.Load() && r.dead.Err() == nil {
			return r
		}
	}
	return nil
}

// end ends all mics.
func (w *world) end() {
	for _, r := range w.replicas {
		r.stop()
	}
	for _, r := range w.replicas {
		<-r.ended
		r.cut()
	}
}

// ear hears what a mic logs.
type ear struct {
	w      *world
	r      *replica
	always string
}

func (ear) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle adds it to the story, and finds out who leads.
func (e ear) Handle(_ context.Context, line slog.Record) error {
	text := line.Message + e.always
	line.Attrs(func(a slog.Attr) bool {
		text += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	e.w.say("  %s: %s", e.r.name, text)
	switch line.Message {
	case "leading":
		e.r.leading.Store(true)
	case "leading no more":
		e.r.leading.Store(false)
	case "no event told of a change; this is a fault of mic's":
		e.w.fail(errors.New(text))
	}
	return nil
}

// WithAttrs remembers what is said with every line.
func (e ear) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		e.always += fmt.Sprintf(" %s=%v", a.Key, a.Value)
	}
	return e
}

// WithGroup is for slog.Handler.
func (e ear) WithGroup(string) slog.Handler { return e }

// newClient is mic's client for Azure, by its line.
func (w *world) newClient(l *line) *compute.Client {
	w.t.Helper()
	transport := w.transport(l)
	where := cloud.Configuration{
		ActiveDirectoryAuthorityHost: w.url + "/",
		Services:                     map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Endpoint: w.url, Audience: "https://management.azure.com"}},
	}
	credential, err := entra.ARMCredential(entra.ARMConfig{
		Cloud: where, TenantID: azemu.DefaultTenant, ClientID: "mic", Secret: "mic's secret", Transport: transport, DisableInstanceDiscovery: true,
	})
	must(w.t, err)
	c, err := compute.New(compute.Config{Credential: credential, Cloud: where, HTTP: transport})
	must(w.t, err)
	return c
}

// machines are Azure as mics see it. What Azure lets one do in a minute is no part
// of the story: with each bout the clients count anew.
type machines struct {
	make func(*line) *compute.Client

	mu sync.Mutex
	by map[*line]*compute.Client // guarded by mu
}

// forgive forgets when Azure wants to be asked again, as new clients do.
func (w *world) forgive() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.away = map[string]time.Time{}
}

// renew has the clients of all who live be new.
func (m *machines) renew() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for l := range m.by {
		if l.dead.Err() != nil {
			delete(m.by, l)
			continue
		}
		m.by[l] = m.make(l)
	}
}

func (m *machines) client(l *line) *compute.Client {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.by[l]
}

// of is Azure as seen by a line.
func (m *machines) of(l *line) azure {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.by[l] = m.make(l)
	return ofLine{m, l}
}

// azure is all that mic wants of Azure.
type azure interface {
	assignment.Machines
	assignment.Lister
}

type ofLine struct {
	*machines
	*line
}

func (o ofLine) Get(ctx context.Context, scope assign.Scope) (compute.State, error) {
	return o.client(o.line).Get(ctx, scope)
}

func (o ofLine) Update(ctx context.Context, scope assign.Scope, s compute.State, attach, detach []string) (compute.Changes, error) {
	return o.client(o.line).Update(ctx, scope, s, attach, detach)
}

func (o ofLine) List(ctx context.Context, kind assign.Kind, subscription, group string) (map[assign.Scope]compute.State, error) {
	return o.client(o.line).List(ctx, kind, subscription, group)
}
