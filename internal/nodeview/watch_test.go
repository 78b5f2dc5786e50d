package nodeview

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/test/localcluster"
)

// watching starts a view of a node and returns it with what it reports.
func watching(t *testing.T, config *rest.Config) (v *View, reports <-chan error, stop func()) {
	t.Helper()
	told := make(chan error, 1000)
	v, w, err := New(Config{
		Node: "node", REST: config, Log: slog.New(slog.DiscardHandler),
		LinkOf: func(netip.Addr) int { return 7 }, Boot: boot,
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
	timeout := time.After(30 * time.Second)
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
	t.Run("and says so when it is no longer fed", func(t *testing.T) {
		_, reports, stop := watching(t, cp.REST())
		defer stop()
		next(t, reports, func(err error) bool { return err == nil })
		cp.Stop()
		next(t, reports, func(err error) bool { return err != nil && strings.Contains(err.Error(), "is not fed") })
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
