package assignment

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/compute"
)

func TestAMachineThatShowsNoIdentityIsNoFault(t *testing.T) {
	play(t, Config{KeepWarm: -1}, func(l scene) {
		l.node()
		l.identity("app")
		p := l.pod("web", "app")
		l.settle(time.Second)
		if got := l.azure.attached(); !slices.Equal(got, []string{"app"}) {
			t.Fatalf("at first %v is attached", got)
		}
		// The operation that took off the last one failed.
		l.azure.be(func() {
			l.azure.show = func(s *compute.State) { s.User, s.Provisioning = nil, "Failed" }
		})
		l.remove(p)
		l.settle(time.Minute)
		if got := l.azure.attached(); len(got) > 0 || len(l.record()) > 0 {
			t.Errorf("%v is attached, and the record is %v, want nothing", got, l.record())
		}
	})
}

func TestAFaultOfOursIsOfOneScope(t *testing.T) {
	play(t, Config{}, func(l scene) {
		l.azure.be(func() {
			l.azure.refuse = func([]string, []string) error {
				l.azure.be(func() { l.azure.refuse = nil })
				panic("a fault")
			}
		})
		l.node()
		l.identity("app")
		l.pod("web", "app")
		l.settle(time.Minute)
		want := map[string]v1.AssignedState{"team/web-team-app": v1.Assigned}
		if got := l.store.objects(); !maps.Equal(got, want) {
			t.Errorf("%v, want it tried again", got)
		}
		if got := l.record()[arm("app")]; got != assign.Attached {
			t.Errorf("on record as %q", got)
		}
	})
}

func TestTheImmutableIsNeverDetached(t *testing.T) {
	play(t, Config{Immutable: func() []string { return []string{"CLUSTER"} }}, func(l scene) {
		present := compute.State{
			User:      map[string]bool{"a": true, "b": true, "d": true},
			ClientIDs: map[string]string{"a": "cluster", "b": "another"},
		}
		before := assign.Record{"a": assign.Attached, "b": assign.Attached, "c": assign.Attached, "d": assign.Attached}
		record, detach, withheld := l.keepImmutable(t.Context(), theScope, present, before, []string{"a", "b", "c", "d"})
		if want := []string{"b", "c"}; !slices.Equal(detach, want) {
			t.Errorf("to detach: %v, want %v: the one that is shown as another, and the one that is not shown at all", detach, want)
		}
		if want := []string{"d"}; !slices.Equal(withheld, want) {
			t.Errorf("withheld: %v, want %v: shown without its client id", withheld, want)
		}
		if record["a"] != assign.Found || record["b"] != assign.Attached || record["d"] != assign.Attached || before["a"] != assign.Attached {
			t.Errorf("record %v, before %v", record, before)
		}
	})
}

func TestOneThatMayBeImmutableWaits(t *testing.T) {
	play(t, Config{Immutable: func() []string { return []string{"cluster"} }, KeepWarm: -1}, func(l scene) {
		l.node()
		l.identity("app")
		p := l.pod("web", "app")
		l.settle(time.Second)
		l.remove(p)
		l.settle(time.Minute)
		if got := l.azure.attached(); !slices.Equal(got, []string{"app"}) || l.azure.gets > 4 {
			t.Errorf("%v is attached after %d reads, want app after a few", got, l.azure.gets)
		}
		l.azure.be(func() {
			l.azure.show = func(s *compute.State) { s.ClientIDs = map[string]string{arm("app"): "app"} }
		})
		l.settle(10 * time.Minute)
		if got := l.azure.attached(); len(got) > 0 {
			t.Errorf("%v is still attached, and Azure shows that it may be detached", got)
		}
	})
}

func TestWhatIsThereWaitsForNobodysPatch(t *testing.T) {
	play(t, Config{}, func(l scene) {
		l.azure.be(func() { l.azure.user[arm("there")], l.azure.takes = true, 40*time.Second })
		l.node()
		l.identity("there")
		l.identity("new")
		l.pod("one", "there")
		l.pod("two", "new")
		l.settle(5 * time.Second)
		want := map[string]v1.AssignedState{"team/one-team-there": v1.Assigned, "team/two-team-new": v1.Created}
		if got := l.store.objects(); !maps.Equal(got, want) {
			t.Errorf("with the PATCH under way %v, want %v", got, want)
		}
		if got := l.record()[arm("new")]; got != assign.Attaching {
			t.Errorf("of what is under way the record says %q", got)
		}
		l.settle(time.Minute)
		want["team/two-team-new"] = v1.Assigned
		if got := l.store.objects(); !maps.Equal(got, want) || l.azure.patches != 1 {
			t.Errorf("in the end %v after %d PATCHes, want %v after 1", got, l.azure.patches, want)
		}
	})
}

func TestOneThatWasNotSentPutsNobodyInQuarantine(t *testing.T) {
	play(t, Config{}, func(l scene) {
		l.azure.be(func() {
			l.azure.user[arm("old")] = true
			l.azure.refuse = func([]string, []string) error { return refused(arm("old")) }
		})
		l.node()
		for i := range 20 {
			name := fmt.Sprint("id-", i)
			l.identity(name)
			l.pod(name, name)
		}
		l.settle(30 * time.Second)
		if quarantined, _, _ := l.known(); l.azure.patches > 6 || quarantined > 0 {
			t.Errorf("%d PATCHes, %d in quarantine, want a few with back-off, and none", l.azure.patches, quarantined)
		}
		l.azure.be(func() { l.azure.refuse = nil })
		l.settle(5 * time.Minute)
		if got := len(l.azure.attached()); got != 21 {
			t.Errorf("%d are attached in the end, want 20 and the one before", got)
		}
	})
}

// What Azure names is misread, or is of nobody: it is as if none were named.
func TestOneThatIsNowhereDoesNotHideTheBadOne(t *testing.T) {
	play(t, Config{}, func(l scene) {
		l.azure.be(func() {
			l.azure.refuse = func(attach, _ []string) error {
				if slices.Contains(attach, arm("bad")) {
					return refused(arm("a"))
				}
				return nil
			}
		})
		l.node()
		for _, name := range []string{"b", "bad", "c", "d"} {
			l.identity(name)
			l.pod(name, name)
		}
		l.settle(10 * time.Second)
		if got := l.azure.attached(); !slices.Equal(got, []string{"b", "c", "d"}) {
			t.Errorf("%v are attached, want all but the bad one", got)
		}
		if quarantined, _, _ := l.known(); quarantined != 1 || l.azure.patches > 6 {
			t.Errorf("%d in quarantine after %d PATCHes, want one after a few", quarantined, l.azure.patches)
		}
	})
}

// Objects may be from before the rule that names are well formed.
func TestANameThatIsNoneStopsNobody(t *testing.T) {
	for _, evil := range []string{"good.x", "good;x", "good$(id)", "none;x"} {
		t.Run(evil, func(t *testing.T) {
			play(t, Config{}, func(l scene) {
				l.azure.be(func() {
					l.azure.refuse = func(attach, _ []string) error {
						if slices.Contains(attach, arm(evil)) {
							return refused(arm("good"))
						}
						return nil
					}
				})
				l.node()
				l.identity("good")
				l.identity("evil")
				l.spec("evil", arm(evil))
				l.pod("good", "good")
				l.pod("evil", "evil")
				l.settle(time.Second)
				want := map[string]v1.AssignedState{"team/good-team-good": v1.Assigned, "team/evil-team-evil": v1.Created}
				if got := l.store.objects(); !maps.Equal(got, want) {
					t.Errorf("%v, want %v", got, want)
				}
				if got := l.azure.attached(); !slices.Equal(got, []string{"good"}) || l.azure.patches != 1 {
					t.Errorf("%v are attached after %d PATCHes, want good after 1", got, l.azure.patches)
				}
			})
		})
	}
}

func TestOneThatIsGoneAndNotNeededIsTakenOffAtOnce(t *testing.T) {
	play(t, Config{KeepWarm: time.Hour}, func(l scene) {
		l.node()
		l.identity("old")
		l.identity("new")
		p := l.pod("before", "old")
		l.settle(time.Second)
		l.remove(p)
		l.azure.be(func() {
			l.azure.refuse = func(_, detach []string) error {
				if slices.Contains(detach, arm("old")) {
					return nil
				}
				return refused(arm("old"))
			}
		})
		l.pod("after", "new")
		l.settle(time.Minute)
		if got := l.azure.attached(); !slices.Equal(got, []string{"new"}) {
			t.Errorf("%v is attached, want the one without the one that Azure names", got)
		}
	})
}

func TestWhatIsRefusedToAReaderHasItsTimes(t *testing.T) {
	play(t, Config{}, func(l scene) {
		l.azure.be(func() {
			l.azure.unread = func() error {
				return &compute.Error{Kind: compute.BadIdentity, Scope: theScope, Doing: "read", Refused: true, Reason: "403 LinkedAuthorizationFailed"}
			}
		})
		l.node()
		l.identity("app")
		l.pod("web", "app")
		l.settle(time.Minute)
		if l.azure.gets > 10 {
			t.Errorf("%d reads in a minute, want few", l.azure.gets)
		}
	})
}
