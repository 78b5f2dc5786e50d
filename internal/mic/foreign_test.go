package mic_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/mic"
)

// TestForeignOperation: what somebody else does to a scale set is waited out.
func TestForeignOperation(t *testing.T) {
	for sentence, meet := range map[string]func(*world) error{
		"before mic looks": func(w *world) error {
			return w.azure.Edit(azemu.Edit{Scope: setID("pool"), Takes: azemu.Duration(2 * time.Second)})
		},
		"between look and write": func(w *world) error {
			return w.azure.SetFault(azemu.EndpointVMSSPatch, azemu.Fault{Times: 1, Before: &azemu.Edit{
				Scope: setID("pool"), Takes: azemu.Duration(2 * time.Second), Refusal: "OperationNotAllowed",
			}})
		},
		"that attaches too": func(w *world) error {
			return w.azure.SetFault(azemu.EndpointVMSSPatch, azemu.Fault{Times: 1, Before: &azemu.Edit{
				Scope: setID("pool"), Takes: azemu.Duration(2 * time.Second), Attach: []string{identityID("theirs")},
			}})
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader", "theirs"})})
			w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
			must(t, meet(w))
			w.run()
			w.apply(w.ns, append(identity("reader"), pod("web", "node-0", "reader"))...)
			w.awaitStates(map[string]v1.AssignedState{"web-" + w.ns + "-reader": v1.Assigned})
			if got := w.attached("pool"); !slices.Contains(got, "reader") || strings.Contains(sentence, "attaches") != slices.Contains(got, "theirs") {
				t.Errorf("the scale set has %v", got)
			}
			if n := w.patches(); n > 3 {
				t.Errorf("%d PATCHes, want one that meets it and one after it", n)
			}
		})
	}
}

// What the operator named is never taken off, also when podid has attached it.
func TestTheImmutableAreNeverTakenOff(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader", "writer", "kubelet"})})
	var cluster atomic.Value // the cluster's own, which changes
	cluster.Store("")
	w.edit = func(c *mic.Config) {
		c.Immutable, c.ClusterIdentity = []string{strings.ToUpper(w.clientOf("reader"))}, func() string { return cluster.Load().(string) }
	}
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.run()
	want, pods := map[string]v1.AssignedState{}, []client.Object{}
	for _, name := range []string{"reader", "writer", "kubelet"} {
		p := pod("pod-"+name, "node-0", name)
		w.apply(w.ns, append(identity(name), p)...)
		want[p.Name+"-"+w.ns+"-"+name], pods = v1.Assigned, append(pods, p)
	}
	w.awaitStates(want)
	cluster.Store(w.clientOf("kubelet"))
	w.delete(pods...)
	w.awaitStates(map[string]v1.AssignedState{})
	w.awaitRecords(0)
	if diff := cmp.Diff([]string{"kubelet", "reader"}, w.attached("pool")); diff != "" {
		t.Errorf("after its last pod the scale set has (-want +got):\n%s", diff)
	}
}
