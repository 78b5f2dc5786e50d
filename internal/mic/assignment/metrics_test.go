package assignment

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
)

func TestTheSizesOfScopesAreShownWithoutNames(t *testing.T) {
	registry := prometheus.NewRegistry()
	before := newReconciler(Config{Metrics: registry})
	before.size(assign.Scope{Name: "before"}, 999)
	registerSizes(registry, before)
	r := newReconciler(Config{Metrics: registry})
	end := registerSizes(registry, r)
	r.refused[assign.Scope{Kind: assign.VM, Name: "a"}] = 2
	r.refused[assign.Scope{Kind: assign.VM, Name: "b"}] = 1
	r.size(assign.Scope{Kind: assign.VM, Name: "a"}, 3)
	r.size(assign.Scope{Kind: assign.VM, Name: "b"}, 120)
	r.size(assign.Scope{Kind: assign.VM, Name: "gone"}, 5)
	r.size(assign.Scope{Kind: assign.VM, Name: "gone"}, 0)
	want := `
# HELP podid_mic_scope_identities How many identities podid knows of on a VM or scale set; how many of these there are.
# TYPE podid_mic_scope_identities histogram
podid_mic_scope_identities_bucket{le="1"} 0
podid_mic_scope_identities_bucket{le="5"} 1
podid_mic_scope_identities_bucket{le="10"} 1
podid_mic_scope_identities_bucket{le="20"} 1
podid_mic_scope_identities_bucket{le="50"} 1
podid_mic_scope_identities_bucket{le="100"} 1
podid_mic_scope_identities_bucket{le="150"} 2
podid_mic_scope_identities_bucket{le="300"} 2
podid_mic_scope_identities_bucket{le="1000"} 2
podid_mic_scope_identities_bucket{le="+Inf"} 2
podid_mic_scope_identities_sum 123
podid_mic_scope_identities_count 2
# HELP podid_mic_scope_identities_max The most identities that podid knows of on one VM or scale set.
# TYPE podid_mic_scope_identities_max gauge
podid_mic_scope_identities_max 120
# HELP podid_mic_quarantined_identities Identities that Azure refused to attach or detach, each counted for each VM or scale set.
# TYPE podid_mic_quarantined_identities gauge
podid_mic_quarantined_identities 3
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), sizesName, mostName, quarantinedName); err != nil {
		t.Error(err)
	}
	end()
	if n, err := testutil.GatherAndCount(registry, sizesName, mostName, quarantinedName); n > 0 || err != nil {
		t.Errorf("%d are shown of one that has ended (%v), want none", n, err)
	}
}

func TestQuarantineIsShownForAsLongAsItLasts(t *testing.T) {
	registry := prometheus.NewRegistry()
	play(t, Config{KeepWarm: -1, Metrics: registry}, func(l scene) {
		shown := func(want int) {
			t.Helper()
			text := fmt.Sprintf("# HELP %s %s\n# TYPE %s gauge\n%s %d\n", quarantinedName, quarantinedHelp, quarantinedName, quarantinedName, want)
			if err := testutil.GatherAndCompare(registry, strings.NewReader(text), quarantinedName); err != nil {
				t.Error(err)
			}
		}
		l.azure.be(func() { l.azure.refuse = func([]string, []string) error { return refused(arm("bad")) } })
		l.node()
		l.identity("bad")
		p := l.pod("web", "bad")
		l.settle(time.Second)
		shown(1)
		l.remove(p)
		l.settle(5 * time.Minute) // one that nobody wants is let go of when it is due
		shown(0)
	})
}

func TestAPodThatTakesTheNameOfAnotherIsMeasured(t *testing.T) {
	registry := prometheus.NewRegistry()
	play(t, Config{Metrics: registry}, func(l scene) {
		measured := func(want string) {
			t.Helper()
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range families {
				if f.GetName() != "podid_mic_bound_to_assigned_seconds" {
					continue
				}
				if got := fmt.Sprint(f.GetMetric()[0].GetHistogram().GetSampleCount()); got != want {
					t.Errorf("measured %s times, want %s", got, want)
				}
			}
		}
		l.node()
		l.identity("app")
		l.pod("db-0", "app")
		l.settle(time.Second)
		measured("1")
		l.store.changed = nil // its going and its coming are one to the cache
		l.remove(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "db-0"}})
		l.store.changed = l.events()
		l.pod("db-0", "app")
		l.settle(time.Second)
		measured("2")
		l.spec("app", strings.ToUpper(arm("app"))) // grants nothing else
		l.settle(time.Second)
		measured("2")
	})
}

func TestTheTimeToAssignedBeginsWhenThePodIsBound(t *testing.T) {
	now := time.Now()
	pod := func(created time.Duration, conditions ...corev1.PodCondition) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{UID: "1", CreationTimestamp: metav1.NewTime(now.Add(-created))},
			Status:     corev1.PodStatus{Conditions: conditions},
		}
	}
	for sentence, test := range map[string]struct {
		pod  *corev1.Pod
		uid  string
		want string // the lowest bucket
	}{
		"when it was scheduled":      {pod(time.Hour, corev1.PodCondition{Type: corev1.PodScheduled, LastTransitionTime: metav1.NewTime(now.Add(-8 * time.Second))}), "1", "10"},
		"else when it was made":      {pod(25 * time.Second), "1", "30"},
		"another pod does not count": {pod(time.Second), "2", ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			r := newReconciler(Config{Metrics: registry})
			r.measure(&v1.AzureAssignedIdentity{Spec: v1.AzureAssignedIdentitySpec{PodUID: test.uid}}, test.pod)
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, f := range families {
				if f.GetName() != "podid_mic_bound_to_assigned_seconds" {
					continue
				}
				for _, b := range f.GetMetric()[0].GetHistogram().GetBucket() {
					if b.GetCumulativeCount() > 0 {
						got = fmt.Sprint(b.GetUpperBound())
						break
					}
				}
			}
			if got != test.want {
				t.Errorf("counted up to %q seconds, want %q", got, test.want)
			}
		})
	}
}
