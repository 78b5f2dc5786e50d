package mic_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/transport"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/mic"
	"github.com/podid-io/podid/internal/mic/lease"
)

func TestWhoStandsByIsReadyWhateverAzureSaidBefore(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader"})})
	w.edit = func(c *mic.Config) { c.Election.LeaseDuration = 9 * time.Second }
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	must(t, w.azure.SetFault(azemu.EndpointVMSSGet, azemu.Fault{Status: 403, Code: "AuthorizationFailed", Message: "no."}))
	w.apply(w.ns, identity("reader")...)
	health, _ := w.start()
	w.awaitHolder(true)
	w.apply(w.ns, pod("first", "node-0", "reader"))
	readiness(t, health, "[-] azure")
	held := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: mic.DefaultLease}}
	must(t, w.api.Patch(t.Context(), held, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"holderIdentity":"another","leaseDurationSeconds":3600}}`))))
	readiness(t, health, "[+] azure")
	must(t, w.api.Patch(t.Context(), held, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"holderIdentity":""}}`))))
}

func TestTheLeaseIsGivenBackUnlessWorkGoesOn(t *testing.T) {
	w := newWorld(t, azemu.Config{})
	for sentence, test := range map[string]struct {
		err  error
		held bool
	}{
		"after work that ends well":               {nil, false},
		"after work that fails":                   {errors.New("oops"), false},
		"not after work that did not end in time": {context.DeadlineExceeded, true},
	} {
		t.Run(sentence, func(t *testing.T) {
			l, err := lease.New(lease.Config{
				REST: plane.REST(), Namespace: system, Name: "work", Log: slog.New(slog.DiscardHandler),
				Duration: 6 * time.Second, RenewDeadline: 4 * time.Second, RetryPeriod: time.Second,
			})
			must(t, err)
			t.Cleanup(func() {
				_ = w.api.Delete(context.WithoutCancel(t.Context()), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "work"}})
			})
			if err := l.Lead(t.Context(), func(context.Context) error { return test.err }); !errors.Is(err, test.err) {
				t.Errorf("Lead() = %v", err)
			}
			holder, err := l.Holder(t.Context())
			if (holder != "") != test.held || err != nil {
				t.Errorf("it is held by %q, %v; want that it is held: %v", holder, err, test.held)
			}
			// Who has gone without a word does not lead, and that shows in time.
			if leader, err := l.Leader(t.Context()); leader != "" || err != nil {
				t.Errorf("%q leads, %v", leader, err)
			}
		})
	}
}

// It would be had at the next restart of a mic that is to stay.
func TestCleanupDoesNotQueueBehindAMic(t *testing.T) {
	w := assignedWorld(t)
	w.run()
	w.awaitHolder(true)
	begin := time.Now()
	said, err := w.cleanup(5*time.Minute, false)
	if err == nil || !strings.Contains(err.Error(), "a mic leads (") || said != "" || time.Since(begin) > time.Minute {
		t.Errorf("after %s cleanup ended with %v; it said %q", time.Since(begin), err, said)
	}
}

func TestCleanupLeavesARecordThatMakesNoSense(t *testing.T) {
	w := assignedWorld(t)
	senseless := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "podid-scope-broken", Labels: map[string]string{"app.kubernetes.io/managed-by": "podid"}},
		Data:       map[string]string{"scope": "nowhere", "identities": "{}"},
	}
	w.apply(system, senseless)
	said, err := w.cleanup(patience, false)
	if err == nil || !strings.Contains(err.Error(), "what is left (1)") || !strings.Contains(said, "left: ConfigMap "+system+"/podid-scope-broken: ") || w.records() != 1 {
		t.Errorf("cleanup ended with %v; %d records; it said:\n%s", err, w.records(), said)
	}
	if len(w.attached("other")) > 0 {
		t.Errorf("other has %v: the records that make sense count", w.attached("other"))
	}
}

// Of objects that cannot be listed, of one that cannot be deleted, and of one that
// is kept, since what it says could not be written down.
func TestCleanupDetachesNothingOfWhichObjectsMayTell(t *testing.T) {
	for which, test := range map[string]struct {
		method, path string
		legacy       bool
		want         string
	}{
		"unlisted": {
			method: http.MethodGet, path: "/azureassignedidentities", want: "left: AzureAssignedIdentities, and with them what is attached to machines: ",
		},
		"undeleted": {
			method: http.MethodDelete, path: "-writer", want: "left: what is attached to machines: 1 AzureAssignedIdentities stay",
		},
		"kept": {
			method: http.MethodPut, path: "/podid-scope-", legacy: true, want: "left: what is attached to machines: 1 AzureAssignedIdentities stay",
		},
	} {
		t.Run(which, func(t *testing.T) {
			w := assignedWorld(t)
			if test.legacy {
				w.apply(w.ns, w.theirs("foreign", "node-0", v1.UserAssignedMSI, v1.Assigned))
			}
			w.edit = func(c *mic.Config) { c.REST.Wrap(without(test.method, test.path)) }
			said, err := w.cleanup(patience, test.legacy)
			if err == nil || !strings.Contains(said, test.want) || len(w.attached("other")) != 1 || len(w.attached("pool")) != 2 {
				t.Errorf("cleanup ended with %v; other has %v, pool %v; it said:\n%s", err, w.attached("other"), w.attached("pool"), said)
			}
			w.edit = nil
			if said, err = w.cleanup(patience, test.legacy); err != nil || len(w.attached("other")) > 0 {
				t.Errorf("a second time ended with %v; other has %v; it said:\n%s", err, w.attached("other"), said)
			}
		})
	}
}

// without cuts the connection under requests of a method whose path has something
// in it.
func without(method, path string) transport.WrapperFunc {
	return func(way http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.Method == method && strings.Contains(r.URL.Path, path) {
				return nil, errors.New("the connection is cut")
			}
			return way.RoundTrip(r)
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
