package assignment

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
)

// deleted has Azure refuse every change of a machine that has an identity which is
// no more, unless it is taken off with it, and each that attaches it. It names some.
func (l scene) deleted(id string, named ...string) {
	l.azure.be(func() {
		l.azure.refuse = func(attach, detach []string) error {
			l.azure.mu.Lock()
			defer l.azure.mu.Unlock()
			if slices.Contains(attach, id) || l.azure.user[id] && !slices.Contains(detach, id) {
				return refused(named...)
			}
			return nil
		}
	})
}

func TestOneThatIsGoneAndStillNeededStopsNobody(t *testing.T) {
	play(t, Config{}, func(l scene) {
		l.node()
		l.identity("old")
		l.identity("new")
		l.pod("before", "old")
		l.settle(time.Second)
		l.deleted(arm("old"), arm("old"))
		l.pod("after", "new")
		l.settle(10 * time.Second)
		want := map[string]v1.AssignedState{"team/before-team-old": v1.Created, "team/after-team-new": v1.Assigned}
		if got := l.store.objects(); !maps.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		if got := l.azure.attached(); !slices.Equal(got, []string{"new"}) || l.azure.patches > 4 {
			t.Errorf("%v is attached after %d PATCHes, want new after a few", got, l.azure.patches)
		}
		if told := l.told.problems[types.NamespacedName{Namespace: "team", Name: "old"}]; !strings.Contains(told, "check that the identity exists") {
			t.Errorf("told about the one that is gone: %q", told)
		}
		if told := l.told.problems[types.NamespacedName{Namespace: "team", Name: "new"}]; told != "" {
			t.Errorf("told about the other: %q", told)
		}
		l.azure.be(func() { l.azure.refuse = nil }) // somebody has made it again
		l.settle(time.Hour)
		want["team/before-team-old"] = v1.Assigned
		if got := l.store.objects(); !maps.Equal(got, want) || l.record()[arm("old")] != assign.Attached {
			t.Errorf("in the end %v, and the record is %v", got, l.record())
		}
	})
}

func TestOneThatIsNeededStaysUnlessAzureNamesIt(t *testing.T) {
	for sentence, test := range map[string]struct {
		found bool // others attached it
		named []string
	}{
		"since Azure names none":          {},
		"since Azure names another":       {named: []string{arm("another")}},
		"since Azure names what was sent": {named: []string{arm("new"), arm("old")}},
		"since it is not podid's":         {found: true, named: []string{arm("old")}},
	} {
		t.Run(sentence, func(t *testing.T) {
			play(t, Config{}, func(l scene) {
				l.azure.be(func() { l.azure.user[arm("old")] = test.found })
				l.node()
				l.identity("old")
				l.identity("new")
				l.pod("before", "old")
				l.settle(time.Second)
				l.deleted(arm("old"), test.named...)
				l.pod("after", "new")
				l.settle(20 * time.Second)
				want := map[string]v1.AssignedState{"team/before-team-old": v1.Assigned, "team/after-team-new": v1.Created}
				if got := l.store.objects(); !maps.Equal(got, want) || !slices.Equal(l.azure.attached(), []string{"old"}) {
					t.Errorf("%v, and %v is attached", got, l.azure.attached())
				}
			})
		})
	}
}
