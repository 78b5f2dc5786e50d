package mic_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/compute"
	"github.com/podid-io/podid/internal/entra"
	"github.com/podid-io/podid/internal/mic"
	"github.com/podid-io/podid/internal/mic/assignment"
	"github.com/podid-io/podid/internal/mic/cloudconfig"
	"github.com/podid-io/podid/test/leaks"
)

const (
	subscription = "11111111-1111-1111-1111-111111111111"
	system       = "podid-system"
	patience     = 60 * time.Second // for what takes milliseconds on a machine that is not busy
)

// world is an API server, an Azure and, once run, a mic between them. It has
// the API server to itself.
type world struct {
	t     *testing.T
	api   client.WithWatch
	azure *azemu.Emulator
	url   string
	ns    string // a namespace of its own for pods
	// between stands between mic and Azure; nil for nothing.
	between func(assignment.Machines) assignment.Machines
	// holds counts the changes that hold has held.
	holds atomic.Int32
	// edit changes the configuration of mic; nil for nothing.
	edit func(*mic.Config)
	// logged is what mic has logged.
	logged lines
}

// lines is a log that is read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newWorld(t *testing.T, c azemu.Config) *world {
	t.Helper()
	leaks.Await(t)
	w := &world{t: t, ns: "apps-" + strings.ToLower(strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, t.Name()), "-"))}
	scheme := runtime.NewScheme()
	must(t, clientgoscheme.AddToScheme(scheme), v1.AddToScheme(scheme))
	var err error
	w.api, err = client.NewWithWatch(plane.REST(), client.Options{Scheme: scheme})
	must(t, err)
	w.apply("", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: system}}, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.ns}})
	w.applyFile("", "../../config/rbac/mic.yaml")
	t.Cleanup(w.clear)
	t.Cleanup(func() {
		if n := strings.Count(w.logged.String(), "no event told of a change"); n > 0 {
			t.Errorf("no event told of %d changes", n)
		}
	})

	c.Seed.Apps = append(c.Seed.Apps, azemu.App{ClientID: "mic", Secrets: []string{"mic's secret"}})
	w.azure, err = azemu.New(c)
	must(t, err)
	t.Cleanup(w.azure.Close)
	server := httptest.NewUnstartedServer(w.azure.Azure())
	server.TLS = w.azure.TLS()
	server.StartTLS()
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

// clear deletes what tests and mic made, so that the next test starts afresh.
func (w *world) clear() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), patience) // the test's own has ended
	defer cancel()
	for _, o := range []client.Object{
		&corev1.Pod{}, &v1.AzureIdentityBinding{}, &v1.AzureIdentity{}, &v1.AzureAssignedIdentity{}, &v1.AzurePodIdentityException{}, &eventsv1.Event{},
	} {
		if err := w.api.DeleteAllOf(ctx, o, client.InNamespace(w.ns), client.GracePeriodSeconds(0)); err != nil {
			w.t.Error(err)
		}
	}
	err := errors.Join(
		w.api.DeleteAllOf(ctx, &corev1.Node{}),
		w.api.DeleteAllOf(ctx, &corev1.ConfigMap{}, client.InNamespace(system), client.MatchingLabels{"app.kubernetes.io/managed-by": "podid"}),
	)
	if err != nil {
		w.t.Error(err)
	}
}

// run starts mic, with the rights of its service account and no more, and
// returns what stops it and waits for its end.
func (w *world) run() (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	c, err := mic.New(w.config())
	must(w.t, err)
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }() // stop ends it
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("mic ended with: %v", err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

func (w *world) config() mic.Config {
	w.t.Helper()
	dir := w.t.TempDir()
	must(w.t, plane.TokenKubeconfig(w.t.Context(), system, "podid-mic", filepath.Join(dir, "kubeconfig")))
	rest, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "kubeconfig"))
	must(w.t, err)
	rest.QPS, rest.Burst = 100, 200
	var machines assignment.Machines = w.machines(dir)
	if w.between != nil {
		machines = w.between(machines)
	}
	c := mic.Config{
		REST: rest, Machines: machines, Namespace: system, Log: w.log(),
		KeepWarm: -1, CheckInterval: 2 * time.Second,
		Election: mic.Election{LeaseDuration: 30 * time.Second}, // which a busy machine renews in time
	}
	if w.edit != nil {
		w.edit(&c)
	}
	return c
}

func (w *world) log() *slog.Logger {
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(io.MultiWriter(os.Stderr, &w.logged), nil))
	}
	return slog.New(slog.NewTextHandler(&w.logged, nil))
}

// machines is the client for Azure as cmd/mic makes it from its configuration.
func (w *world) machines(dir string) *compute.Client {
	w.t.Helper()
	must(w.t,
		os.WriteFile(filepath.Join(dir, "cloud.json"), []byte(`{"resourceManagerEndpoint": "`+w.url+`/", "activeDirectoryEndpoint": "`+w.url+`/", "tokenAudience": "https://management.azure.com/"}`), 0o600),
		os.WriteFile(filepath.Join(dir, "azure.json"), []byte(`{"cloud": "AzureStackCloud", "tenantId": "`+azemu.DefaultTenant+`", "aadClientId": "mic", "aadClientSecret": "mic's secret"}`), 0o600),
	)
	c, err := cloudconfig.Read(filepath.Join(dir, "azure.json"), func(name string) string {
		return map[string]string{"AZURE_ENVIRONMENT_FILEPATH": filepath.Join(dir, "cloud.json")}[name]
	})
	must(w.t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.azure.CA())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	w.t.Cleanup(transport.CloseIdleConnections)
	c.ARM.Transport = &http.Client{Transport: transport}
	credential, err := entra.ARMCredential(c.ARM)
	must(w.t, err)
	machines, err := compute.New(compute.Config{Credential: credential, Cloud: c.ARM.Cloud, HTTP: c.ARM.Transport})
	must(w.t, err)
	return machines
}

// apply creates objects, in namespace where they have one.
func (w *world) apply(namespace string, objects ...client.Object) {
	w.t.Helper()
	for _, o := range objects {
		if namespace != "" {
			o.SetNamespace(namespace)
		}
		must(w.t, client.IgnoreAlreadyExists(w.api.Create(w.t.Context(), o)))
	}
}

func (w *world) applyFile(namespace, name string) {
	w.t.Helper()
	f, err := os.Open(name)
	must(w.t, err)
	defer func() { _ = f.Close() }()
	for d := yaml.NewYAMLOrJSONDecoder(f, 4096); ; {
		o := &unstructured.Unstructured{}
		if err := d.Decode(o); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			w.t.Fatalf("%s: %v", name, err)
		}
		w.apply(namespace, o)
	}
}

// await watches objects of a kind until cond is true of all there are.
func await[L client.ObjectList](w *world, namespace string, list L, what string, cond func(L) bool) {
	w.t.Helper()
	awaitFor(w, patience, namespace, list, what, cond)
}

// awaitFor is await with a patience of its own.
func awaitFor[L client.ObjectList](w *world, limit time.Duration, namespace string, list L, what string, cond func(L) bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), limit)
	defer cancel()
	for {
		must(w.t, w.api.List(ctx, list, client.InNamespace(namespace)))
		if cond(list) {
			return
		}
		changes, err := w.api.Watch(ctx, list, client.InNamespace(namespace), &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.GetResourceVersion()}})
		must(w.t, err)
		_, more := <-changes.ResultChan()
		changes.Stop()
		if ctx.Err() != nil || !more {
			must(w.t, w.api.List(w.t.Context(), list, client.InNamespace(namespace)))
			w.t.Fatalf("waited in vain for: %s; there is: %s", what, describe(list))
		}
	}
}

// describe shows what an await waited in vain for.
func describe(list client.ObjectList) string {
	switch l := list.(type) {
	case *v1.AzureAssignedIdentityList:
		return fmt.Sprint(states(l))
	case *corev1.ConfigMapList:
		var data []any
		for i := range l.Items {
			data = append(data, l.Items[i].Data)
		}
		return fmt.Sprint(data)
	default:
		return fmt.Sprintf("%+v", list)
	}
}

// states are the states of assigned identities by their names.
func states(l *v1.AzureAssignedIdentityList) map[string]v1.AssignedState {
	out := make(map[string]v1.AssignedState, len(l.Items))
	for i := range l.Items {
		out[l.Items[i].Name] = l.Items[i].Status.Status
	}
	return out
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// The things that tests are about.

func identityID(name string) string {
	return "/subscriptions/" + subscription + "/resourceGroups/Apps/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + name
}

func setID(name string) string {
	return "/subscriptions/" + subscription + "/resourceGroups/MC_group/providers/Microsoft.Compute/virtualMachineScaleSets/" + name
}

func vmID(name string) string {
	return "/subscriptions/" + subscription + "/resourceGroups/MC_group/providers/Microsoft.Compute/virtualMachines/" + name
}

func node(name, providerID string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{ProviderID: "azure://" + providerID}}
}

func pod(name, node, selector string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{v1.LabelBinding: selector}},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "main", Image: "example.com/app"}}},
	}
}

// identity is an AzureIdentity and its binding with the selector of that name.
func identity(name string) []client.Object {
	return []client.Object{
		&v1.AzureIdentity{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       v1.AzureIdentitySpec{Type: new(v1.UserAssignedMSI), ResourceID: identityID(name), ClientID: "client-" + name},
		},
		&v1.AzureIdentityBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       v1.AzureIdentityBindingSpec{AzureIdentity: name, Selector: name},
		},
	}
}

// seed is a state with scale sets of one instance each and identities.
func seed(sets, identities []string) azemu.State {
	var s azemu.State
	for _, name := range sets {
		s.ScaleSets = append(s.ScaleSets, azemu.ScaleSet{
			ID: setID(name), Instances: []azemu.Instance{{InstanceID: "0", Name: name + "000000"}},
		})
	}
	for _, name := range identities {
		s.Identities = append(s.Identities, azemu.Identity{ID: identityID(name)})
	}
	return s
}

// hold holds every change of Azure until release is called or mic is stopped.
// Then it goes to Azure, whose answer mic gets in any case.
func (w *world) hold() (release func()) {
	held := make(chan struct{})
	w.between = func(m assignment.Machines) assignment.Machines { return holding{m, held, &w.holds} }
	return sync.OnceFunc(func() { close(held) })
}

type holding struct {
	assignment.Machines
	held  chan struct{}
	holds *atomic.Int32
}

func (h holding) Update(ctx context.Context, scope assign.Scope, s compute.State, attach, detach []string) (compute.Changes, error) {
	h.holds.Add(1)
	select {
	case <-h.held:
	case <-ctx.Done():
	}
	return h.Machines.Update(context.WithoutCancel(ctx), scope, s, attach, detach)
}

// nowhere is an Azure that is never asked.
type nowhere struct{ assignment.Machines }
