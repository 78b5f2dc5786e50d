package assignment

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/compute"
)

// until lets an identity be attached for a pod that has gone again, with its node.
func until(l scene) {
	l.t.Helper()
	n := l.node()
	l.identity("app")
	p := l.pod("before", "app")
	l.settle(time.Second)
	if got := l.record(); got[arm("app")] != assign.Attached {
		l.t.Fatalf("at first the record is %v", got)
	}
	l.remove(p, n)
	l.settle(time.Second)
}

func TestAMachineMadeAnewHasNothingOfTheOneBefore(t *testing.T) {
	for sentence, test := range map[string]struct {
		before, after string // ids of their own
	}{
		"which Azure shows":         {"first", "second"},
		"which Azure does not show": {"", ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			play(t, Config{}, func(l scene) {
				l.azure.be(func() { l.azure.made = test.before })
				until(l)
				l.azure.be(func() { l.azure.made, l.azure.user, l.azure.takes = test.after, make(map[string]bool), 40*time.Second })
				l.node()
				l.pod("after", "app")
				l.settle(10 * time.Second)
				want := map[string]v1.AssignedState{"team/after-team-app": v1.Created}
				if got := l.store.objects(); !maps.Equal(got, want) {
					t.Errorf("while the identity is on its way %v, want %v", got, want)
				}
				l.settle(time.Minute)
				want["team/after-team-app"] = v1.Assigned
				if got := l.store.objects(); !maps.Equal(got, want) || !slices.Equal(l.azure.attached(), []string{"app"}) {
					t.Errorf("in the end %v, and %v is attached", got, l.azure.attached())
				}
			})
		})
	}
}

func TestWhatOthersPutOnAMachineMadeAnewStays(t *testing.T) {
	play(t, Config{KeepWarm: time.Minute}, func(l scene) {
		l.azure.be(func() { l.azure.made = "first" })
		until(l)
		l.azure.be(func() { l.azure.made = "second" })
		l.settle(5 * time.Minute)
		if got := l.azure.attached(); !slices.Equal(got, []string{"app"}) || len(l.record()) > 0 {
			t.Errorf("%v is attached, and the record is %v, want what others attached, and none", got, l.record())
		}
	})
}

func TestAListShowsAMachineMadeAnew(t *testing.T) {
	play(t, Config{}, func(l scene) {
		l.azure.be(func() { l.azure.made = "first" })
		l.node()
		l.identity("app")
		l.pod("web", "app")
		l.settle(time.Second)
		l.azure.be(func() { l.azure.made, l.azure.user = "second", make(map[string]bool) })
		l.mu.Lock()
		l.sights[theScope] = sight{compute.State{ID: "second", User: map[string]bool{}}, time.Now()}
		l.mu.Unlock()
		l.queue.Add(theScope)
		l.settle(time.Second)
		if got := l.azure.attached(); !slices.Equal(got, []string{"app"}) {
			t.Errorf("%v is attached, want the identity again", got)
		}
	})
}

func TestTheFirstNodeAfterNoneCostsOneRead(t *testing.T) {
	play(t, Config{}, func(l scene) {
		l.azure.be(func() { l.azure.made = "first" })
		until(l)
		gets := l.azure.gets
		l.node()
		l.pod("after", "app")
		l.settle(time.Second)
		want := map[string]v1.AssignedState{"team/after-team-app": v1.Assigned}
		if got := l.store.objects(); !maps.Equal(got, want) || l.azure.gets != gets+1 || l.azure.patches != 1 {
			t.Errorf("%v after %d reads and %d PATCHes more, want %v after one and none", got, l.azure.gets-gets, l.azure.patches-1, want)
		}
	})
}

func TestANodeThatRegistersAgainTakesNothingFromItsPods(t *testing.T) {
	play(t, Config{}, func(l scene) {
		n := l.node()
		l.identity("app")
		l.pod("web", "app")
		l.settle(time.Second)
		l.azure.be(func() { l.azure.unread = func() error { return errors.New("no connection") } })
		l.remove(n)
		l.settle(time.Second)
		l.node()
		l.pod("new", "app")
		l.settle(time.Minute)
		want := map[string]v1.AssignedState{"team/web-team-app": v1.Assigned, "team/new-team-app": v1.Created}
		if got := l.store.objects(); !maps.Equal(got, want) {
			t.Errorf("while Azure cannot be read %v, want %v", got, want)
		}
		l.azure.be(func() { l.azure.unread = nil })
		l.settle(5 * time.Minute)
		want["team/new-team-app"] = v1.Assigned
		if got := l.store.objects(); !maps.Equal(got, want) || l.azure.patches != 1 {
			t.Errorf("then %v after %d PATCHes, want %v after 1", got, l.azure.patches, want)
		}
	})
}

func TestTheRecordSaysOfWhichMachineItIs(t *testing.T) {
	play(t, Config{}, func(l scene) {
		l.azure.be(func() { l.azure.made = "first" })
		until(l)
		found, _, err := l.records.load(t.Context())
		if err != nil || found[theScope].made != "first" {
			t.Errorf("the record is of %q, %v", found[theScope].made, err)
		}
	})
}

func TestAVMMadeAnewWithItsNodeIsAnother(t *testing.T) {
	vm := func(uid types.UID) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", UID: uid}, Spec: corev1.NodeSpec{
			ProviderID: "azure:///subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/one",
		}}
	}
	for sentence, tell := range map[string]func(told func(old, now client.Object), old, now client.Object){
		"told as a change": func(told func(old, now client.Object), old, now client.Object) {
			told(old, now)
		},
		"told as a deletion and a new one": func(told func(old, now client.Object), old, now client.Object) {
			told(old, nil)
			told(nil, now)
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			play(t, Config{}, func(l scene) {
				l.azure.be(func() { l.azure.made = "first" })
				before, after := vm("before"), vm("after")
				l.store.put(before)
				l.identity("app")
				l.pod("web", "app")
				l.settle(time.Second)
				l.azure.be(func() { l.azure.made, l.azure.user, l.azure.takes = "second", make(map[string]bool), 40*time.Second })
				told := l.store.changed
				l.store.changed = nil // both are in the cache before either is told
				l.remove(before)
				l.store.put(after)
				l.store.changed = told
				tell(told, before, after)
				l.pod("new", "app")
				l.settle(10 * time.Second)
				if got := l.store.objects()["team/new-team-app"]; got != v1.Created {
					t.Errorf("while the identity is on its way %q", got)
				}
				l.settle(time.Minute)
				want := map[string]v1.AssignedState{"team/web-team-app": v1.Assigned, "team/new-team-app": v1.Assigned}
				if got := l.store.objects(); !maps.Equal(got, want) || !slices.Equal(l.azure.attached(), []string{"app"}) {
					t.Errorf("in the end %v, and %v is attached", got, l.azure.attached())
				}
			})
		})
	}
}

func TestAVMMadeAnewWhoseNodeStaysIsAnother(t *testing.T) {
	play(t, Config{}, func(l scene) {
		l.azure.be(func() { l.azure.made = "first" })
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", UID: "node"}, Spec: corev1.NodeSpec{
			ProviderID: "azure:///subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/one",
		}}
		n.Status.NodeInfo.SystemUUID = "first"
		l.store.put(n)
		l.identity("app")
		l.pod("web", "app")
		l.settle(time.Second)
		l.azure.be(func() { l.azure.made, l.azure.user = "second", make(map[string]bool) })
		again := n.DeepCopy()
		again.Status.NodeInfo.SystemUUID = "second"
		stripped, err := stripNode(again)
		if err != nil || !otherSystem(n, stripped.(*corev1.Node)) {
			t.Fatalf("the cache shows %v, %v", stripped, err)
		}
		l.store.put(again)
		l.settle(time.Minute)
		if got := l.azure.attached(); !slices.Equal(got, []string{"app"}) {
			t.Errorf("%v is attached", got)
		}
	})
}

// What was asked before says nothing of what came since.
func TestAMachineMadeAnewWhileAzureIsAskedIsAnother(t *testing.T) {
	vm := func(uid types.UID) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node", UID: uid}, Spec: corev1.NodeSpec{
			ProviderID: "azure:///subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/one",
		}}
	}
	play(t, Config{Drift: -1}, func(l scene) {
		l.azure.be(func() { l.azure.made = "first" })
		l.store.put(vm("first"))
		l.identity("app")
		l.pod("web", "app")
		l.settle(time.Second)
		l.azure.be(func() { l.azure.reads = 10 * time.Second })
		l.remove(vm("first"))
		l.store.put(vm("again")) // Azure is asked, and shows the machine as it is yet
		l.settle(time.Second)
		l.azure.be(func() { l.azure.made, l.azure.user = "second", make(map[string]bool) })
		l.remove(vm("again"))
		l.store.put(vm("second"))
		l.pod("new", "app")
		l.settle(12 * time.Second)
		if got := l.store.objects()["team/new-team-app"]; got != v1.Created {
			t.Errorf("once Azure has answered of the machine before %q", got)
		}
		l.settle(time.Minute)
		want := map[string]v1.AssignedState{"team/web-team-app": v1.Assigned, "team/new-team-app": v1.Assigned}
		if got := l.store.objects(); !maps.Equal(got, want) || !slices.Equal(l.azure.attached(), []string{"app"}) {
			t.Errorf("in the end %v, and %v is attached", got, l.azure.attached())
		}
	})
}

func TestALabelOfANodeCostsNoRead(t *testing.T) {
	play(t, Config{}, func(l scene) {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}, Spec: corev1.NodeSpec{
			ProviderID: "azure:///subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/one",
		}}
		l.store.put(n)
		l.identity("app")
		l.pod("web", "app")
		l.settle(time.Second)
		gets := 0
		l.azure.be(func() { gets = l.azure.gets })
		labelled := n.DeepCopy()
		labelled.Labels = map[string]string{"a": "b"}
		l.store.put(labelled)
		l.settle(time.Minute)
		l.azure.be(func() { gets = l.azure.gets - gets })
		if gets != 0 {
			t.Errorf("%d reads", gets)
		}
	})
}
