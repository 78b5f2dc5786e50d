package controller_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apimachinery/pkg/watch"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/compute"
	"github.com/podid-io/podid/test/controller/model"
	"github.com/podid-io/podid/test/localcluster"
)

const system = "podid-system"

// world is a cluster, an Azure, mics between them, and what happens to them all.
// One goroutine, the story's, makes things happen.
type world struct {
	t     *testing.T
	r     *rand.Rand
	plant plant
	plane *localcluster.ControlPlane
	api   client.WithWatch
	azure *azemu.Emulator
	url   string
	names names
	story story

	changing sync.RWMutex // held by somebody else who changes a machine; shared by mics
	replicas []*replica
	started  int          // mics
	kills    atomic.Int64 // of mics
	machines *machines    // of all replicas
	warm     time.Duration
	// immutable is the client id of an identity that is never to be taken off.
	immutable string
	stirred   chan struct{}
	count     count
	told      int               // see probe
	missing   map[string]bool   // machines that were deleted
	clients   map[string]string // client ids of identities

	mu sync.Mutex // guards the rest, and fates
	// now is what people have made of the cluster. needs are why each identity has to
	// be where, and since when; fewer is when there was first a reason less, since all
	// was as it should be.
	now   model.Cluster
	needs map[model.Place]map[model.Reason]time.Time
	fewer map[model.Place]time.Time
	// maybe are identities that may be on a machine, or not.
	maybe   map[model.Place]bool
	deleted map[string]bool // identities that Azure has not
	// named are identities that an AzureIdentity has named since then, former those
	// that were named before: a mic that has read of the end of that may not have come
	// to it yet, with a change of its own that Azure has refused so far. last are where
	// such a change has been sent since, as may happen once.
	named, former map[string]bool
	last          map[model.Place]bool
	// before is what machines have by the doing of others.
	before map[string]model.Machine
	// behind are identities that were taken off behind mic's back.
	behind map[string]map[string]bool
	// troubled are machines that something went wrong with.
	troubled map[string]bool
	settled  settled
	fates    []*fate
	calm     chan struct{} // closed when nothing goes wrong any more
	hit      map[string]int
	flying   int            // requests to Azure
	patches  map[string]int // of machines, since all was as it should be
	allowed  map[string]int
	away     map[string]time.Time // when a machine may be changed again, by line and machine
	refused  map[string]time.Time // when an identity may be tried again, by line, machine and identity
	// unsure says that mic may not know whose record it has read: then it puts nobody
	// in quarantine, and tries again soon.
	unsure bool
	wrong  []error
}

// settled is how it was when all was as it should be the last time.
type settled struct {
	at     time.Time
	had    map[string]map[string]bool // identities on machines
	theirs map[string]map[string]bool // of these by the doing of others
	usable map[string]bool            // identities
}

// count is what has happened.
type count struct{ Bouts, Steps, Patches, Allowed, Over, Kills int }

func newWorld(t *testing.T, seed uint64, p plant) *world {
	t.Helper()
	w := &world{
		t: t, r: rand.New(rand.NewPCG(seed, 1)), plant: p, stirred: make(chan struct{}, 1), settled: settled{at: time.Now()},
		missing: map[string]bool{}, clients: map[string]string{}, calm: make(chan struct{}),
		now: model.New(), needs: map[model.Place]map[model.Reason]time.Time{}, fewer: map[model.Place]time.Time{}, maybe: map[model.Place]bool{},
		named: map[string]bool{}, deleted: map[string]bool{}, patches: map[string]int{}, allowed: map[string]int{},
		before: map[string]model.Machine{}, behind: map[string]map[string]bool{}, troubled: map[string]bool{},
		hit: map[string]int{}, away: map[string]time.Time{}, refused: map[string]time.Time{},
	}
	w.plane = <-planes
	t.Cleanup(func() { planes <- w.plane })
	w.names = newNames(w.r)
	w.warm = one(w, []time.Duration{-1, time.Second, 2 * time.Second})
	if p.warm > 0 {
		w.warm = p.warm
	}
	scheme := runtime.NewScheme()
	must(t, clientgoscheme.AddToScheme(scheme), v1.AddToScheme(scheme))
	var err error
	w.api, err = client.NewWithWatch(w.plane.REST(), client.Options{Scheme: scheme})
	must(t, err)
	w.apply(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: system}})
	w.applyFile("../../config/rbac/mic.yaml")
	t.Cleanup(w.clear)
	for _, ns := range w.names.namespaces {
		w.apply(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
	}
	for _, kind := range []string{"namespaces", "nodes", "azureidentities", "azureidentitybindings"} {
		w.apply(w.probes()[kind])
	}
	w.firstPod()
	w.buildAzure(seed)
	t.Cleanup(w.end)
	w.watch()
	return w
}

// buildAzure starts an Azure with the machines and the identities of the story.
func (w *world) buildAzure(seed uint64) {
	w.t.Helper()
	delay := []time.Duration{0, 300 * time.Millisecond, 1200 * time.Millisecond}[seed%3]
	state := w.names.state()
	state.Apps = []azemu.App{{ClientID: "mic", Secrets: []string{"mic's secret"}}}
	var err error
	w.azure, err = azemu.New(azemu.Config{ARMDelay: delay, Seed: state})
	must(w.t, err)
	w.t.Cleanup(w.azure.Close)
	server := httptest.NewUnstartedServer(w.azure.Azure())
	server.TLS = w.azure.TLS()
	server.StartTLS()
	w.t.Cleanup(server.Close)
	w.url = server.URL
	for _, id := range w.names.identities {
		w.now.Usable[strings.ToLower(id)] = true
	}
	w.settled.usable = maps.Clone(w.now.Usable)
	for id, m := range w.shown() {
		w.before[id] = model.Machine{System: m.system, Has: map[string]model.Owner{}}
	}
	for _, i := range w.azure.State().Identities {
		w.clients[i.ID] = i.ClientID
		if i.ID == w.names.immutable {
			w.now.Immutable[strings.ToLower(i.ID)] = true
			w.immutable = i.ClientID
		}
	}
	w.machines = &machines{by: map[*line]*compute.Client{}, make: w.newClient}
}

// transport reaches Azure by a line.
func (w *world) transport(l *line) *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.azure.CA())
	plain := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	w.t.Cleanup(plain.CloseIdleConnections)
	return &http.Client{Transport: wire{line: l, RoundTripper: plain, azure: true}}
}

// say adds a line to the story.
func (w *world) say(format string, args ...any) { w.story.add(fmt.Sprintf(format, args...)) }

// tell fails the test with what came of the story, and the end of the story. What
// came of it stands at both ends, since who reads it may be given a part.
func (w *world) tell(end string) {
	w.t.Helper()
	w.t.Errorf("%s\n%s\n%s", end, w.story.String(), end)
}

// fail takes note of something that must not be.
func (w *world) fail(err error) {
	w.mu.Lock()
	w.wrong = append(w.wrong, err)
	w.mu.Unlock()
	w.say("WRONG: %v", err)
	w.stir()
}

// wrongs are what must not have been.
func (w *world) wrongs() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(w.wrong...)
}

// stir has whoever waits look again.
func (w *world) stir() {
	select {
	case w.stirred <- struct{}{}:
	default:
	}
}

// allow lets mic send more PATCHes of a machine, or of any one where that is empty.
// The caller holds mu.
func (w *world) allow(machine string, n int) { w.allowed[machine] += n }

// apply creates objects where they are not there.
func (w *world) apply(objects ...client.Object) {
	w.t.Helper()
	for _, o := range objects {
		must(w.t, client.IgnoreAlreadyExists(w.api.Create(w.t.Context(), o)))
	}
}

func (w *world) applyFile(name string) {
	w.t.Helper()
	f, err := os.Open(name)
	must(w.t, err)
	defer func() { _ = f.Close() }() // only read from
	for d := yaml.NewYAMLOrJSONDecoder(f, 4096); ; {
		o := &unstructured.Unstructured{}
		if err := d.Decode(o); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			w.t.Fatalf("%s: %v", name, err)
		}
		w.apply(o)
	}
}

// clear deletes what the world leaves, so that the next one starts afresh.
func (w *world) clear() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), time.Minute) // the test's own has ended
	defer cancel()
	var errs []error
	for _, ns := range append(w.names.namespaces, w.names.quiet) {
		for _, o := range kindsOfPeople() {
			errs = append(errs, w.api.DeleteAllOf(ctx, o, client.InNamespace(ns), client.GracePeriodSeconds(0)))
		}
	}
	errs = append(errs,
		w.api.DeleteAllOf(ctx, &corev1.Node{}),
		w.api.DeleteAllOf(ctx, &corev1.ConfigMap{}, client.InNamespace(system), client.MatchingLabels{"app.kubernetes.io/managed-by": "podid"}))
	if err := errors.Join(errs...); err != nil {
		w.t.Error(err)
	}
}

// firstPod makes the probe that is a pod, which its namespace takes once it has a
// service account.
func (w *world) firstPod() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	accounts, err := w.api.Watch(ctx, &corev1.ServiceAccountList{}, client.InNamespace(w.names.quiet))
	must(w.t, err)
	defer accounts.Stop()
	<-accounts.ResultChan()
	w.apply(w.probes()["pods"])
}

// watch has whoever waits look again when something changes that is waited for.
func (w *world) watch() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	var running sync.WaitGroup
	for _, list := range []client.ObjectList{&v1.AzureAssignedIdentityList{}, &v1.AzureIdentityList{}, &v1.AzureIdentityBindingList{}} {
		changes, err := w.api.Watch(ctx, list)
		must(w.t, err)
		running.Go(func() { w.follow(ctx, list, changes) }) // ends with ctx
	}
	w.t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

// follow stirs with each change. The API server may end a watch at any time, as it
// does with those that it cannot write to fast enough: then there is another, and
// what had changed meanwhile is looked at. One that ends at once is not asked for
// again at once.
func (w *world) follow(ctx context.Context, list client.ObjectList, changes watch.Interface) {
	for tick := time.Tick(100 * time.Millisecond); ; {
		for range changes.ResultChan() {
			w.stir()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		var err error
		if changes, err = w.api.Watch(ctx, list); err != nil {
			if ctx.Err() == nil {
				w.fail(fmt.Errorf("the test's own watch: %w", err))
			}
			return
		}
		w.stir()
	}
}

func kindsOfPeople() []client.Object {
	return []client.Object{&corev1.Pod{}, &v1.AzureIdentityBinding{}, &v1.AzureIdentity{}, &v1.AzureAssignedIdentity{}}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
