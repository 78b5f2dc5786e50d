package mic_test

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
)

// TestEventsAreThoseOfTheTable has mic tell all that it can, and compares it with
// docs/metrics.md.
func TestEventsAreThoseOfTheTable(t *testing.T) {
	docs, err := os.ReadFile("../../docs/metrics.md")
	must(t, err)
	_, section, _ := strings.Cut(string(docs), "\n## mic\n")
	_, section, _ = strings.Cut(section, "\n### Events\n")
	section, _, _ = strings.Cut(section, "\n### ")
	said := make(map[string]bool)
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]*)` \\| ([^|]*) \\|").FindAllStringSubmatch(section, -1) {
		for on := range strings.SplitSeq(row[2], ", ") {
			said[row[1]+" on "+strings.ToLower(on)] = true
		}
	}

	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader"})})
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.run()
	w.apply(w.ns, append(identity("reader"), pod("web", "node-0", "reader"))...)
	w.apply(w.ns, append(identity("late"), pod("job", "node-0", "late"))...) // which Azure does not know
	wrong := identity("wrong")
	wrong[1].SetAnnotations(map[string]string{v1.AnnotationPreAssign: "not=a=selector"})
	w.apply(w.ns, wrong...)
	w.apply(w.ns, &v1.AzurePodIdentityException{ObjectMeta: metav1.ObjectMeta{Name: "exception"}})
	told := make(map[string]bool)
	see := func(n int) {
		await(w, w.ns, &eventsv1.EventList{}, "events", func(l *eventsv1.EventList) bool {
			for i := range l.Items {
				told[l.Items[i].Reason+" on "+strings.ToLower(l.Items[i].Regarding.Kind)] = true
			}
			return len(told) >= n
		})
	}
	see(len(said) - 1)
	must(t, w.azure.MergeState(azemu.State{Identities: []azemu.Identity{{ID: identityID("late")}}})) // and then does
	see(len(said))
	if diff := cmp.Diff(slices.Sorted(maps.Keys(said)), slices.Sorted(maps.Keys(told))); diff != "" {
		t.Errorf("events (-docs/metrics.md +told):\n%s", diff)
	}
}
