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
	newReconciler(Config{Metrics: registry}).size(assign.Scope{Name: "before"}, 999) // has ended
	r := newReconciler(Config{Metrics: registry})
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
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), sizesName, mostName); err != nil {
		t.Error(err)
	}
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
