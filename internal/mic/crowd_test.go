package mic_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sync/errgroup"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
)

// TestFiveHundredMachinesAtOnce: node autoprovisioning makes one VM for each node,
// and all of them come at once. They are in four subscriptions, so that it takes
// seconds: each has more of them than Azure lets be read or written at once.
func TestFiveHundredMachinesAtOnce(t *testing.T) {
	const machines, subscriptions = 500, 4
	s := seed(nil, []string{"reader"})
	for i := range machines {
		s.VMs = append(s.VMs, azemu.VM{ID: fmt.Sprintf(
			"/subscriptions/22222222-2222-2222-2222-%012d/resourceGroups/MC_group/providers/Microsoft.Compute/virtualMachines/vm-%03d", i%subscriptions, i)})
	}
	w := newWorld(t, azemu.Config{Seed: s, ARMLimits: true, ARMDelay: 5 * time.Second, RetryAfter: 6 * time.Second})
	w.apply(w.ns, identity("reader")...)
	var g errgroup.Group
	g.SetLimit(20)
	for i := range machines {
		g.Go(func() error {
			name := fmt.Sprintf("vm-%03d", i)
			p := pod("pod-"+name, name, "reader")
			p.Namespace = w.ns
			if err := w.api.Create(t.Context(), node(name, s.VMs[i].ID)); err != nil {
				return err
			}
			return w.api.Create(t.Context(), p)
		})
	}
	must(t, g.Wait())
	began := time.Now()
	w.run()
	first := time.Duration(0)
	awaitFor(w, 10*patience, w.ns, &v1.AzureAssignedIdentityList{}, "500 to be Assigned", func(l *v1.AzureAssignedIdentityList) bool {
		assigned := 0
		for _, state := range states(l) {
			if state == v1.Assigned {
				assigned++
			}
		}
		if assigned > 0 && first == 0 {
			first = time.Since(began)
		}
		return assigned == machines
	})
	t.Logf("the first after %s, all after %s", first, time.Since(began))
	for endpoint, n := range w.azure.Counters() {
		if refused := n.Status[http.StatusTooManyRequests]; refused > 0 {
			t.Errorf("%s: %d answers of 429 in %d", endpoint, refused, n.Calls)
		}
	}
	want := azemu.ScopeCounter{Patches: 1, Accepted: 1, Operations: map[string]int{"Succeeded": 1}}
	all := w.azure.ScopeCounters()
	for _, vm := range w.azure.State().VMs {
		got := all[strings.ToLower(vm.ID)]
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(azemu.ScopeCounter{}, "Gets")); diff != "" || len(vm.Visible) != 1 || got.Gets > 3 {
			t.Errorf("%s has %v after %d reads (-want +got):\n%s", vm.ID, vm.Visible, got.Gets, diff)
		}
	}
}
