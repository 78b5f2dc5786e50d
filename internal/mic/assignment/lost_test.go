package assignment

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/compute"
)

// deleted has Azure refuse every change of a machine that has an identity which is
// no more, unless it is taken off with it, and each that attaches it. It names some.
func (l scene) deleted(id string, named ...string) {
	l.azure.be(func() {
		l.azure.refuse = func(attach, detach []string) error {
			l.azure.mu.Lock()
			defer l.azure.mu.Unlock()
			if slices.Contains(attach, id) || l.azure.user[id] && !slices.Contains(detach, id) {
				return absent(named...)
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
		l.settle(40 * time.Second)
		want := map[string]v1.AssignedState{"team/before-team-old": v1.Created, "team/after-team-new": v1.Assigned}
		if got := l.store.objects(); !maps.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		if got := l.azure.attached(); !slices.Equal(got, []string{"new"}) || l.azure.patches > 4 {
			t.Errorf("%v is attached after %d PATCHes, want new after a few", got, l.azure.patches)
		}
		if told := l.told.of("old"); !strings.Contains(told, "check that the identity exists") {
			t.Errorf("told about the one that is gone: %q", told)
		}
		if told := l.told.of("new"); told != "" {
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

func TestOneThatIsNeededStaysUnlessAzureNamesItAlone(t *testing.T) {
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
				l.settle(5 * time.Minute)
				want := map[string]v1.AssignedState{"team/before-team-old": v1.Assigned, "team/after-team-new": v1.Created}
				if got := l.store.objects(); !maps.Equal(got, want) || !slices.Equal(l.azure.attached(), []string{"old"}) {
					t.Errorf("%v, and %v is attached", got, l.azure.attached())
				}
			})
		})
	}
}

// stuck is a scale set with old, of which Azure refuses changes, and new, which is
// needed since. Nobody needs old where it is idle.
func stuck(l scene, idle bool, refuse func(attach, detach []string) error) {
	l.node()
	l.identity("old")
	l.identity("new")
	p := l.pod("before", "old")
	l.settle(time.Second)
	if idle {
		l.remove(p)
		l.settle(time.Second)
	}
	l.azure.be(func() { l.azure.refuse = refuse })
	l.pod("after", "new")
}

// One word of Azure's, or one of another kind, takes nothing from anybody.
func TestOneThatIsNeededStaysUnlessItDoesNotExist(t *testing.T) {
	once := 0
	for sentence, refuse := range map[string]func() error{
		"since mic may not assign it": func() error { return refused(arm("old")) },
		"since that is said but once": func() error {
			if once++; once == 1 {
				return absent(arm("old"))
			}
			return refused(arm("old"))
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			play(t, Config{}, func(l scene) {
				stuck(l, false, func([]string, []string) error { return refuse() })
				l.settle(10 * time.Minute)
				want := map[string]v1.AssignedState{"team/before-team-old": v1.Assigned, "team/after-team-new": v1.Created}
				if got := l.store.objects(); !maps.Equal(got, want) || l.record()[arm("old")] != assign.Attached || l.azure.patches > 16 {
					t.Errorf("%v after %d PATCHes, and the record is %v", got, l.azure.patches, l.record())
				}
				if told := l.told.of("new"); told == "" {
					t.Error("nobody is told why the other waits")
				}
				l.azure.be(func() { l.azure.refuse = nil })
				l.settle(5 * time.Minute)
				want["team/after-team-new"] = v1.Assigned
				if got := l.store.objects(); !maps.Equal(got, want) {
					t.Errorf("in the end %v", got)
				}
			})
		})
	}
}

func TestADetachmentThatWasRefusedStopsNobodyForEver(t *testing.T) {
	for sentence, test := range map[string]struct {
		idle  bool
		named []string // with the detachment
	}{
		"of one that is needed":               {named: []string{arm("old")}},
		"of one that is idle":                 {idle: true, named: []string{arm("old")}},
		"with another":                        {named: []string{arm("old"), arm("bad")}},
		"where none is named":                 {},
		"where none is named, of an idle one": {idle: true},
	} {
		t.Run(sentence, func(t *testing.T) {
			play(t, Config{}, func(l scene) {
				began := time.Now()
				l.identity("bad")
				stuck(l, test.idle, func(attach, detach []string) error {
					l.azure.mu.Lock()
					defer l.azure.mu.Unlock()
					without := l.azure.user[arm("old")] && !slices.Contains(detach, arm("old"))
					switch {
					case slices.Contains(detach, arm("old")) && time.Since(began) < time.Minute:
						return absent(test.named...)
					case slices.Contains(attach, arm("bad")):
						return absent(arm("bad"))
					case without || slices.Contains(attach, arm("old")):
						return absent(arm("old"))
					default:
						return nil
					}
				})
				l.pod("other", "bad")
				l.settle(2 * time.Minute)
				if got := l.azure.attached(); !slices.Equal(got, []string{"new"}) || l.store.objects()["team/after-team-new"] != v1.Assigned {
					t.Errorf("%v is attached after %d PATCHes: %v", got, l.azure.patches, l.store.objects())
				}
				if l.azure.patches > 30 {
					t.Errorf("%d PATCHes", l.azure.patches)
				}
			})
		})
	}
}

// It is never taken, and asked for ever more seldom.
func TestADetachmentThatIsAlwaysRefusedIsNoStorm(t *testing.T) {
	for sentence, idle := range map[string]bool{"needed": false, "idle": true} {
		t.Run(sentence, func(t *testing.T) {
			play(t, Config{}, func(l scene) {
				stuck(l, idle, func([]string, []string) error { return absent(arm("old")) })
				l.settle(time.Hour)
				if l.azure.patches > 80 {
					t.Errorf("%d PATCHes in an hour", l.azure.patches)
				}
			})
		})
	}
}

func TestWhatMayBeImmutableIsKeptFromNobody(t *testing.T) {
	for sentence, patches := range map[string]int{ // until when Azure shows which one it is
		"where Azure never shows which one it is":        0,
		"where Azure does not show it when it should go": 3,
	} {
		t.Run(sentence, func(t *testing.T) {
			play(t, Config{Immutable: func() []string { return []string{"cluster"} }}, func(l scene) {
				l.azure.be(func() {
					l.azure.show = func(s *compute.State) {
						if l.azure.patches < patches {
							s.ClientIDs = map[string]string{arm("old"): "old"}
						}
					}
				})
				stuck(l, false, nil)
				l.deleted(arm("old"), arm("old"))
				l.settle(5 * time.Minute)
				if got := l.store.objects()["team/before-team-old"]; got != v1.Assigned || l.record()[arm("old")] != assign.Attached {
					t.Errorf("it is %q, and the record is %v", got, l.record())
				}
				if l.azure.patches > 15 {
					t.Errorf("%d PATCHes", l.azure.patches)
				}
			})
		})
	}
}

func TestAnIdleOneThatIsGoneGoesAtOnce(t *testing.T) {
	play(t, Config{Retry: 30 * time.Second}, func(l scene) {
		stuck(l, true, nil)
		l.deleted(arm("old"), arm("old"))
		l.settle(5 * time.Second)
		if got := l.azure.attached(); !slices.Equal(got, []string{"new"}) || l.azure.patches != 3 {
			t.Errorf("%v is attached after %d PATCHes, want new after 3: the first, one that is refused, and one with both", got, l.azure.patches)
		}
	})
}

func TestNothingGoesWithoutTheLostOne(t *testing.T) {
	playWith(t, Config{}, func(l scene, api reluctant) {
		stuck(l, false, nil)
		api.stays.Store(true)
		l.deleted(arm("old"), arm("old"))
		l.settle(50 * time.Second)
		patches := 0
		l.azure.be(func() { patches = l.azure.patches })
		if patches != 3 {
			t.Errorf("%d PATCHes while the object still says that it is there, want 3: the first, and two that are refused", patches)
		}
		l.settle(2 * time.Minute) // nor for ever
		if got := l.azure.attached(); !slices.Equal(got, []string{"new"}) {
			t.Errorf("%v is attached", got)
		}
	})
}
