package mic_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/mic"
	"github.com/podid-io/podid/internal/mic/legacy"
)

// start runs mic with its health served, and returns the address of that and
// what stops it.
func (w *world) start() (health string, stop func()) {
	w.t.Helper()
	edit := w.edit
	w.edit = func(c *mic.Config) {
		c.HealthListen = anyPort
		if edit != nil {
			edit(c)
		}
	}
	serving := w.serving("health")
	stop = w.run()
	return serving(), stop
}

// awaitHolder waits until the lease is held, or not.
func (w *world) awaitHolder(held bool) {
	w.t.Helper()
	await(w, system, &coordinationv1.LeaseList{}, "the lease", func(l *coordinationv1.LeaseList) bool {
		return len(l.Items) == 1 && held == (l.Items[0].Spec.HolderIdentity != nil && *l.Items[0].Spec.HolderIdentity != "")
	})
}

func TestWhoLosesTheLeaseStandsByAndLeadsAgain(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader"})})
	w.edit = func(c *mic.Config) { c.Election.LeaseDuration = 9 * time.Second } // its loss is seen after 6s
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.apply(w.ns, identity("reader")...)
	health, stop := w.start()
	w.awaitHolder(true)
	w.apply(w.ns, pod("first", "node-0", "reader"))
	w.awaitStates(map[string]v1.AssignedState{"first-" + w.ns + "-reader": v1.Assigned})

	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: mic.DefaultLease}}
	// Patches, since mic renews it at the same time.
	steal := func(spec string) {
		t.Helper()
		must(t, w.api.Patch(t.Context(), lease, client.RawPatch(types.MergePatchType, []byte(`{"spec":`+spec+`}`))))
	}
	for round := range 2 {
		awaitLeads(t, w, true) // a busy machine may have lost it, and leads again
		steal(`{"holderIdentity":"another","leaseDurationSeconds":3600}`)
		awaitLeads(t, w, false)
		name := fmt.Sprintf("pod-%d", round)
		w.apply(w.ns, pod(name, "node-0", "reader"))
		readiness(t, health, "[+] lease") // a standby is ready
		if l := new(v1.AzureAssignedIdentityList); w.api.List(t.Context(), l, client.InNamespace(w.ns)) != nil || len(l.Items) != round+1 {
			t.Errorf("who does not lead has written: %v", states(l))
		}
		must(t, w.api.Get(t.Context(), client.ObjectKeyFromObject(lease), lease))
		if holder := *lease.Spec.HolderIdentity; holder != "another" {
			t.Errorf("the lease of another was given back: %q holds it", holder)
		}
		steal(`{"holderIdentity":""}`)
		want := map[string]v1.AssignedState{"first-" + w.ns + "-reader": v1.Assigned}
		for i := range round + 1 {
			want[fmt.Sprintf("pod-%d-%s-reader", i, w.ns)] = v1.Assigned
		}
		w.awaitStates(want)
	}
	if n := w.patches(); n != 1 {
		t.Errorf("%d PATCHes, want 1", n)
	}
	stop()
	w.awaitHolder(false) // given back at once
}

// lockOf is the lock of AAD Pod Identity's MIC, as it writes it.
func lockOf(t *testing.T, holder string, seconds int) *unstructured.Unstructured {
	t.Helper()
	record, err := json.Marshal(map[string]any{
		"holderIdentity": holder, "leaseDurationSeconds": seconds, "leaderTransitions": 0,
		"acquireTime": metav1.Now(), "renewTime": metav1.NewMicroTime(time.Now()).Format(time.RFC3339Nano),
	})
	must(t, err)
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Endpoints"}}
	o.SetNamespace(system)
	o.SetName(legacy.LockName)
	o.SetAnnotations(map[string]string{"control-plane.alpha.kubernetes.io/leader": string(record)})
	return o
}

func TestMicWaitsWhileTheOtherControllerLeads(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader"})})
	w.edit = func(c *mic.Config) {
		c.LegacyLocks = []types.NamespacedName{{Namespace: "default", Name: legacy.LockName}, {Namespace: system, Name: legacy.LockName}}
	}
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.apply(w.ns, append(identity("reader"), pod("web", "node-0", "reader"))...)
	renew := func(holder string, seconds int) {
		t.Helper()
		must(t, w.api.Update(t.Context(), lockOf(t, holder, seconds)))
	}
	must(t, w.api.Create(t.Context(), lockOf(t, "mic-old", 600)))
	t.Cleanup(func() {
		_ = w.api.Delete(context.WithoutCancel(t.Context()), lockOf(t, "", 1))
	})
	health, _ := w.start()
	readiness(t, health, "[-] aad-pod-identity: AAD Pod Identity's MIC leads: mic-old holds its lock, Endpoints "+system+"/"+legacy.LockName)
	readiness(t, health, "[+] api-server")
	if l := new(v1.AzureAssignedIdentityList); w.api.List(t.Context(), l, client.InNamespace(w.ns)) != nil || len(l.Items) > 0 {
		t.Errorf("while the other controller led, mic has written %v", states(l))
	}

	renew("", 1) // it is scaled down
	readiness(t, health, "[+] aad-pod-identity")
	w.awaitStates(map[string]v1.AssignedState{"web-" + w.ns + "-reader": v1.Assigned})

	renew("mic-new", 600) // it is back
	readiness(t, health, "mic-new holds its lock")
	awaitLog(t, w, "leading no more", 1)
	renew("mic-new", 1) // and ends without a word
	readiness(t, health, "[+] aad-pod-identity")
	w.apply(w.ns, pod("more", "node-0", "reader"))
	w.awaitStates(map[string]v1.AssignedState{"web-" + w.ns + "-reader": v1.Assigned, "more-" + w.ns + "-reader": v1.Assigned})
}

func TestALockThatCannotBeReadIsSaid(t *testing.T) {
	w := newWorld(t, azemu.Config{})
	w.edit = func(c *mic.Config) {
		c.LegacyLocks = []types.NamespacedName{{Namespace: "kube-system", Name: legacy.LockName}} // of which no rule says anything
	}
	health, _ := w.start()
	readiness(t, health, "[-] aad-pod-identity: nobody knows whether AAD Pod Identity's MIC leads")
	readiness(t, health, "cannot get resource \"endpoints\"")
}

// awaitLog waits until mic has logged a message n times.
func awaitLog(t *testing.T, w *world, message string, n int) {
	t.Helper()
	awaitLogged(t, w, fmt.Sprintf("logged %q %d times", message, n), func(logged string) bool { return strings.Count(logged, message) >= n })
}

// awaitLeads waits until mic leads, or does not, by what it has logged: each term has
// a beginning and an end.
func awaitLeads(t *testing.T, w *world, leads bool) {
	t.Helper()
	awaitLogged(t, w, fmt.Sprintf("told that it leads: %t", leads), func(logged string) bool {
		return leads == (strings.Count(logged, "msg=leading\n") > strings.Count(logged, `msg="leading no more"`))
	})
}

// awaitLogged waits until what mic has logged is as it should be.
func awaitLogged(t *testing.T, w *world, what string, ok func(logged string) bool) {
	t.Helper()
	deadline := time.After(patience)
	for tick := time.Tick(20 * time.Millisecond); ; {
		if ok(w.logged.String()) {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("mic never %s", what)
		case <-tick:
		}
	}
}
