package mic_test

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
)

func TestABurstOfPodsIsAFewPatches(t *testing.T) {
	const pods, identities = 200, 20
	var names []string
	for i := range identities {
		names = append(names, fmt.Sprintf("id-%d", i))
	}
	w := newWorld(t, azemu.Config{ARMDelay: 3 * time.Second, Seed: seed([]string{"pool"}, names)})
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"), node("node-1", setID("pool")+"/virtualMachines/1"))
	for _, name := range names {
		w.apply(w.ns, identity(name)...)
	}
	release := w.hold() // as long as they come, however long that takes here
	w.run()
	began := time.Now()
	var g errgroup.Group
	g.SetLimit(10)
	for i := range pods {
		g.Go(func() error {
			p := pod(fmt.Sprintf("pod-%d", i), fmt.Sprintf("node-%d", i%2), names[i%identities])
			p.SetNamespace(w.ns)
			return w.api.Create(t.Context(), p)
		})
	}
	must(t, g.Wait())
	t.Logf("%d pods created in %s", pods, time.Since(began))
	await(w, w.ns, &v1.AzureAssignedIdentityList{}, "200 objects", func(l *v1.AzureAssignedIdentityList) bool { return len(l.Items) == pods })
	release()
	await(w, w.ns, &v1.AzureAssignedIdentityList{}, "200 to be Assigned", func(l *v1.AzureAssignedIdentityList) bool {
		assigned := 0
		for _, s := range states(l) {
			if s == v1.Assigned {
				assigned++
			}
		}
		return assigned == pods
	})
	t.Logf("all Assigned after %s, with %d PATCHes and %d GETs", time.Since(began), w.patches(), w.azure.Counters()[azemu.EndpointVMSSGet].Calls)
	if got := w.patches(); got > 3 {
		t.Errorf("%d PATCHes, want at most 3", got)
	}
	list := &v1.AzureAssignedIdentityList{}
	must(t, w.api.List(t.Context(), list, client.InNamespace(w.ns)))
	for i := range list.Items {
		if o := &list.Items[i]; len(o.Finalizers) > 0 || o.Labels[v1.LabelNodeName] != o.Spec.NodeName {
			t.Fatalf("%s: finalizers %v, labels %v", o.Name, o.Finalizers, o.Labels)
		}
	}
}
