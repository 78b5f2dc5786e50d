package nodeview

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/test/localcluster"
)

// allKinds has one pod entitled and excepted, by one object of each kind.
const allKinds = `
{"apiVersion": "v1", "kind": "Pod",
 "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}, "annotations": {"podid.io/prefetch": "https://vault.azure.net"}},
 "spec": {"nodeName": "node", "containers": [{"name": "c", "image": "registry.example/c:1"}]}}
---
{"apiVersion": "aadpodidentity.k8s.io/v1", "kind": "AzureIdentity", "metadata": {"name": "id", "namespace": "default"}, "spec": {"clientID": "c"}}
---
{"apiVersion": "aadpodidentity.k8s.io/v1", "kind": "AzureIdentityBinding", "metadata": {"name": "all", "namespace": "default"}, "spec": {"azureIdentity": "id"}}
---
{"apiVersion": "aadpodidentity.k8s.io/v1", "kind": "AzurePodIdentityException", "metadata": {"name": "e", "namespace": "default"}, "spec": {"podLabels": {"app": "web"}}}
---
{"apiVersion": "aadpodidentity.k8s.io/v1", "kind": "AzureAssignedIdentity",
 "metadata": {"name": "a", "namespace": "default", "labels": {"nodename": "node"}},
 "spec": {"pod": "web", "podNamespace": "default", "nodename": "node", "azureIdentityRef":
  {"apiVersion": "aadpodidentity.k8s.io/v1", "kind": "AzureIdentity", "metadata": {"name": "id", "namespace": "default"}, "spec": {"clientID": "c"}}},
 "status": {"status": "Assigned"}}
`

// watching starts a view of a node and returns it with what it reports.
func watching(t *testing.T, config *rest.Config) (v *View, reports <-chan error, stop func()) {
	t.Helper()
	told := make(chan error, 1000)
	v, w, err := New(Config{
		Node: "node", REST: config, Log: slog.New(slog.DiscardHandler),
		LinkOf: func(netip.Addr) int { return 7 }, Boot: boot,
		Rules:  identity.Rules{ExceptionNamespaces: []string{"default"}},
		Report: func(err error) { told <- err },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var g sync.WaitGroup
	g.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Errorf("Run() = %v", err)
		}
	})
	return v, told, func() { cancel(); g.Wait() }
}

// next waits for a report that is as wanted.
func next(t *testing.T, reports <-chan error, want func(error) bool) {
	t.Helper()
	timeout := time.After(3 * time.Minute)
	var last error
	for {
		select {
		case last = <-reports:
			if want(last) {
				return
			}
		case <-timeout:
			t.Fatalf("the last report is %v", last)
		}
	}
}

func TestTheViewIsCompleteWhenItSaysSo(t *testing.T) {
	ctrllog.SetLogger(logr.Discard())
	cp, err := localcluster.StartControlPlane(t.Context(), localcluster.ControlPlaneConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer cp.Stop()
	if err := cp.InstallCRDs(t.Context(), "../../config/crd"); err != nil {
		t.Fatal(err)
	}
	const bindings = 1500
	addBindings(t, cp.REST(), bindings)
	for range 5 {
		v, reports, stop := watching(t, cp.REST())
		next(t, reports, func(err error) bool { return err == nil })
		v.mu.RLock()
		got := len(v.bindings)
		v.mu.RUnlock()
		if got != bindings {
			t.Errorf("the view says that it is complete with %d bindings of %d", got, bindings)
		}
		stop()
	}
	t.Run("and follows what nmi may read", func(t *testing.T) { followEverything(t, cp) })
	t.Run("and says so when it is no longer fed", func(t *testing.T) {
		v, reports, stop := watching(t, cp.REST())
		defer stop()
		next(t, reports, func(err error) bool { return err == nil })
		if age := v.Age(); age != 0 {
			t.Errorf("Age() = %s of a view that is fed", age)
		}
		cp.Stop()
		next(t, reports, func(err error) bool { return err != nil && strings.Contains(err.Error(), "is not fed") })
		if v.Age() == 0 {
			t.Error("Age() = 0 of a view that is not fed")
		}
	})
}

// addBindings creates bindings, eight at a time.
func addBindings(t *testing.T, config *rest.Config, n int) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	config.QPS, config.Burst = 1000, 1000
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	errs := make([]error, 8)
	var g sync.WaitGroup
	for worker := range errs {
		g.Go(func() {
			for i := worker; i < n; i += len(errs) {
				b := &v1.AzureIdentityBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("b-%d", i)}}
				b.Spec.AzureIdentity, b.Spec.Selector = "id", "s"
				errs[worker] = errors.Join(errs[worker], c.Create(t.Context(), b))
			}
		})
	}
	g.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// followEverything reads with nmi's own rights and has every kind tell of a change.
func followEverything(t *testing.T, cp *localcluster.ControlPlane) {
	t.Helper()
	api, err := client.New(cp.REST(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	v, reports, stop := watching(t, asAgent(t, cp, api))
	defer stop()
	next(t, reports, func(err error) bool { return err == nil })
	createAll(t, api, allKinds)
	annotate := []byte(`{"metadata": {"annotations": {"` + v1.AnnotationNamespaceBinding + `": "all"}}}`)
	if err := api.Patch(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, client.RawPatch(types.MergePatchType, annotate)); err != nil {
		t.Fatal(err)
	}
	timeout := time.After(3 * time.Minute)
	for {
		f, changed, err := v.ByName("default", "web")
		if err == nil && len(f.Grants) == 1 && f.Grants[0].Ready && f.Exception != nil && len(f.Prefetch) == 1 {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("ByName() = %+v, %v", f, err)
		}
	}
}

// asAgent applies nmi's roles and returns what its service account reaches the
// API server with.
func asAgent(t *testing.T, cp *localcluster.ControlPlane, api client.Client) *rest.Config {
	t.Helper()
	createAll(t, api, `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "podid-system"}}`)
	text, err := os.ReadFile("../../config/rbac/nmi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	createAll(t, api, string(text))
	file := t.TempDir() + "/kubeconfig"
	if err := cp.TokenKubeconfig(t.Context(), "podid-system", "podid-nmi", file); err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func createAll(t *testing.T, api client.Client, manifests string) {
	t.Helper()
	for text := range strings.SplitSeq(manifests, "\n---\n") {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
			t.Fatal(err)
		}
		if err := api.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheFirstListOfPodsIsOfNow(t *testing.T) {
	tests := map[string]struct{ path, want string }{
		"a list of pods from a cache":  {"/api/v1/pods?fieldSelector=x&resourceVersion=0", "fieldSelector=x"},
		"one that matches at least":    {"/api/v1/pods?resourceVersion=0&resourceVersionMatch=NotOlderThan", ""},
		"a watch":                      {"/api/v1/pods?resourceVersion=0&watch=true", "resourceVersion=0&watch=true"},
		"a list that goes on":          {"/api/v1/pods?resourceVersion=7", "resourceVersion=7"},
		"a list of what moves no link": {"/api/v1/namespaces?resourceVersion=0", "resourceVersion=0"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, tc.path, nil)
			if got := consistent(r).URL.RawQuery; got != tc.want {
				t.Errorf("asked for ?%s, want ?%s", got, tc.want)
			}
		})
	}
}
