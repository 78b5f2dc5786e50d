package mic_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/mic"
)

// cleanup runs mic cleanup for a time, and returns what it said.
func (w *world) cleanup(limit time.Duration, legacy bool) (said string, err error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), limit)
	defer cancel()
	var out strings.Builder
	err = mic.Cleanup(ctx, w.config(), false, legacy, &out)
	return out.String(), err
}

// records counts mic's records.
func (w *world) records() int {
	w.t.Helper()
	var l corev1.ConfigMapList
	must(w.t, w.api.List(w.t.Context(), &l, client.InNamespace(system)))
	return len(slices.DeleteFunc(l.Items, func(m corev1.ConfigMap) bool { return !strings.HasPrefix(m.Name, "podid-scope-") }))
}

func (w *world) assigned() map[string]v1.AssignedState {
	w.t.Helper()
	var l v1.AzureAssignedIdentityList
	must(w.t, w.api.List(w.t.Context(), &l, client.InNamespace(w.ns)))
	return states(&l)
}

// assignedWorld is a world where podid has attached reader to pool, beside
// foreign, and writer to other, and where no mic works any more.
func assignedWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool", "other"}, []string{"reader", "writer", "foreign"})})
	must(t, w.azure.MergeState(azemu.State{ScaleSets: []azemu.ScaleSet{{
		ID: setID("pool"), Identity: &azemu.Assigned{Type: "SystemAssigned, UserAssigned", UserAssigned: []string{identityID("foreign")}},
	}}}))
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"), node("node-1", setID("other")+"/virtualMachines/0"))
	for _, name := range []string{"reader", "writer", "foreign"} {
		w.apply(w.ns, identity(name)...)
	}
	w.apply(w.ns, pod("web", "node-0", "reader"), pod("old", "node-0", "foreign"), pod("job", "node-1", "writer"))
	stop := w.run()
	w.awaitStates(map[string]v1.AssignedState{
		"web-" + w.ns + "-reader": v1.Assigned, "old-" + w.ns + "-foreign": v1.Assigned, "job-" + w.ns + "-writer": v1.Assigned,
	})
	stop()
	return w
}

func TestCleanupUndoesWhatPodidDidAndNoMore(t *testing.T) {
	w := assignedWorld(t)
	must(t, w.api.Create(t.Context(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "tainted"},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "podid.io/agent-not-ready", Effect: corev1.TaintEffectNoSchedule}, {Key: "mine", Effect: corev1.TaintEffectNoSchedule}}},
	}))
	w.applyFile("", "../../config/rbac/startup-taint.yaml")
	w.edit = func(c *mic.Config) { c.StartupTaints = []string{"podid.io/agent-not-ready"} }
	said, err := w.cleanup(patience, false)
	if err != nil {
		t.Errorf("cleanup ended with %v; it said:\n%s", err, said)
	}
	for _, want := range []string{
		"detached " + strings.ToLower(identityID("reader")), "not podid's to detach, and stays: " + strings.ToLower(identityID("foreign")),
		"detached " + strings.ToLower(identityID("writer")), "deleted 3 AzureAssignedIdentities", "node tainted: took the start-up taint off", "nothing of podid is left",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("said\n%s\nwant %q in it", said, want)
		}
	}
	if diff := cmp.Diff([]string{"foreign"}, w.attached("pool")); diff != "" {
		t.Errorf("pool has (-want +got):\n%s", diff)
	}
	if got := w.attached("other"); len(got) > 0 {
		t.Errorf("other has %v", got)
	}
	if n, objects := w.records(), w.assigned(); n+len(objects) > 0 {
		t.Errorf("%d records and %v are left", n, objects)
	}
	var n corev1.Node
	must(t, w.api.Get(t.Context(), client.ObjectKey{Name: "tainted"}, &n))
	if keys := taintKeys(&n); slices.Contains(keys, "podid.io/agent-not-ready") || !slices.Contains(keys, "mine") {
		t.Errorf("the node has %v", keys)
	}
	before := w.patches()
	if said, err := w.cleanup(patience, false); err != nil || w.patches() != before {
		t.Errorf("a second time ended with %v after %d PATCHes:\n%s", err, w.patches()-before, said)
	}
}

func TestCleanupSaysWhatIsLeftAndGoesOnLater(t *testing.T) {
	w := assignedWorld(t)
	must(t, w.azure.SetFault(azemu.EndpointVMSSPatch, azemu.Fault{Status: 403, Code: "AuthorizationFailed", Message: "The client has no authorization.", Times: 1}))
	said, err := w.cleanup(patience, false)
	if err == nil || !strings.Contains(err.Error(), "what is left (1) is said above") || !strings.Contains(said, "left: ") || !strings.Contains(said, "role Virtual Machine Contributor") {
		t.Errorf("cleanup ended with %v; it said:\n%s", err, said)
	}
	if w.records() != 1 {
		t.Errorf("%d records, want that of what is left", w.records())
	}
	if said, err := w.cleanup(patience, false); err != nil || w.records() > 0 || len(w.attached("other")) > 0 {
		t.Errorf("a second time ended with %v; it said:\n%s", err, said)
	}
}

// TestCleanupKeepsIdentities has no Azure to ask: what is attached stays, and
// the rest goes.
func TestCleanupKeepsIdentities(t *testing.T) {
	w := assignedWorld(t)
	before := w.patches()
	var out strings.Builder
	w.edit = func(c *mic.Config) { c.Machines, c.ClusterIdentity = nil, nil }
	if err := mic.Cleanup(t.Context(), w.config(), true, false, &out); err != nil {
		t.Errorf("cleanup ended with %v", err)
	}
	for _, want := range []string{"stays: " + strings.ToLower(identityID("writer")), "nothing of podid is left but what is on machines"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
	if n, objects := w.records(), w.assigned(); n+len(objects) > 0 {
		t.Errorf("%d records and %v are left", n, objects)
	}
	if got := w.attached("other"); len(got) != 1 || w.patches() != before {
		t.Errorf("other has %v after %d PATCHes", got, w.patches()-before)
	}
}

func TestCleanupWaitsOutWhatPasses(t *testing.T) {
	w := assignedWorld(t)
	must(t, w.azure.SetFault(azemu.EndpointVMSSPatch, azemu.Fault{Status: 409, Code: "AnotherOperationInProgress", Times: 1}))
	if said, err := w.cleanup(patience, false); err != nil || w.records() > 0 {
		t.Errorf("cleanup ended with %v; it said:\n%s", err, said)
	}
}

func TestCleanupForgetsMachinesThatAreGone(t *testing.T) {
	w := assignedWorld(t)
	must(t, w.api.Delete(t.Context(), node("node-1", "")))
	must(t, w.azure.SetFault(azemu.EndpointVMSSGet, azemu.Fault{Status: 404, Code: "ResourceNotFound", Message: "The Resource was not found."}))
	said, err := w.cleanup(patience, false)
	if err == nil || !strings.Contains(said, "is not there any more") || !strings.Contains(said, "left: ") {
		t.Errorf("cleanup ended with %v; it said:\n%s", err, said)
	}
	if w.records() != 1 {
		t.Errorf("%d records, want that of the scale set of which there is a node", w.records())
	}
}

// TestCleanupRefusesWhileAMicLeads has the time be over before it is known whether who
// holds the Lease goes on: at its second look at the Lease.
func TestCleanupRefusesWhileAMicLeads(t *testing.T) {
	w := assignedWorld(t)
	w.run()
	w.awaitHolder(true)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var looks atomic.Int32
	w.edit = func(c *mic.Config) {
		c.REST.Wrap(func(way http.RoundTripper) http.RoundTripper {
			return roundTrip(func(r *http.Request) (*http.Response, error) {
				if strings.HasSuffix(r.URL.Path, "/leases/"+mic.DefaultLease) && looks.Add(1) == 2 {
					cancel()
				}
				return way.RoundTrip(r)
			})
		})
	}
	var out strings.Builder
	err := mic.Cleanup(ctx, w.config(), false, false, &out)
	said := out.String()
	if n := looks.Load(); n < 2 {
		t.Errorf("it looked at the Lease %d times", n)
	}
	if err == nil || !strings.Contains(err.Error(), "a mic leads (") || said != "" || len(w.assigned()) != 3 {
		t.Errorf("cleanup ended with %v; it said %q", err, said)
	}
}

func TestCleanupNeverDetachesTheImmutable(t *testing.T) {
	w := assignedWorld(t)
	var client string
	for _, id := range w.azure.State().Identities {
		if strings.EqualFold(id.ID, identityID("writer")) {
			client = id.ClientID
		}
	}
	w.edit = func(c *mic.Config) { c.Immutable = []string{strings.ToUpper(client)} }
	if said, err := w.cleanup(patience, false); err != nil || !slices.Equal(w.attached("other"), []string{"writer"}) {
		t.Errorf("cleanup ended with %v; other has %v; it said:\n%s", err, w.attached("other"), said)
	}
}

func TestCleanupDeletesObjectsOfAADPodIdentityWhenAsked(t *testing.T) {
	w := newWorld(t, azemu.Config{})
	theirs := &v1.AzureAssignedIdentity{ObjectMeta: metav1.ObjectMeta{Name: "web-apps-reader", Finalizers: []string{assign.LegacyFinalizer}}}
	held := &v1.AzureAssignedIdentity{ObjectMeta: metav1.ObjectMeta{Name: "held", Finalizers: []string{"example.com/mine"}}}
	w.apply(w.ns, theirs, held)
	said, err := w.cleanup(patience, false)
	if err == nil || !strings.Contains(said, "left: AzureAssignedIdentity "+w.ns+"/held: it is deleted, and waits for others to take off their finalizers [\"example.com/mine\"]") ||
		!strings.Contains(said, "1 AzureAssignedIdentities are of AAD Pod Identity, and stay: --legacy deletes them") {
		t.Errorf("cleanup ended with %v; it said:\n%s", err, said)
	}
	must(t, w.api.Patch(t.Context(), held, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))))
	if said, err := w.cleanup(patience, true); err != nil || len(w.assigned()) > 0 {
		t.Errorf("with --legacy ended with %v; it said:\n%s", err, said)
	}
}

func taintKeys(n *corev1.Node) (keys []string) {
	for _, t := range n.Spec.Taints {
		keys = append(keys, t.Key)
	}
	return keys
}
