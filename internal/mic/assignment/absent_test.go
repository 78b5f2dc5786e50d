package assignment

import (
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/compute"
)

// Two words of Azure's are one where they are of one moment, and where they are of
// two occasions.
func TestWhatDoesNotExistIsSaidTwice(t *testing.T) {
	for sentence, test := range map[string]struct {
		after []time.Duration // the one word after the other
		want  bool            // with the last
	}{
		"once":                          {[]time.Duration{0}, false},
		"at once again":                 {[]time.Duration{0, time.Second}, false},
		"a little too soon":             {[]time.Duration{0, 30*time.Second - 1}, false},
		"soon, and then again":          {[]time.Duration{0, 20 * time.Second, 10 * time.Second}, true},
		"just late enough":              {[]time.Duration{0, 30 * time.Second}, true},
		"just soon enough":              {[]time.Duration{0, 10 * time.Minute}, true},
		"too late":                      {[]time.Duration{0, 10*time.Minute + 1}, false},
		"weeks after":                   {[]time.Duration{0, 500 * time.Hour}, false},
		"too late, and then again":      {[]time.Duration{0, 11 * time.Minute, time.Minute}, true},
		"too late, and then too soon":   {[]time.Duration{0, 11 * time.Minute, time.Second}, false},
		"soon, and then again too late": {[]time.Duration{0, 20 * time.Second, 10 * time.Minute}, false},
	} {
		t.Run(sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newReconciler(Config{})
				id := arm("old")
				s := r.newState(kept{record: assign.Record{id: assign.Attached}})
				s.machine.Need(assign.Owner{Namespace: "team", Name: "web"}, []string{id}, time.Now())
				got := false
				for _, d := range test.after {
					if got {
						t.Fatal("it was lost before the last word")
					}
					time.Sleep(d) // in the bubble
					got = s.lose([]string{id}, outcome{there: map[string]bool{id: true}, err: absent(id)})
				}
				if got != test.want {
					t.Errorf("lost: %v, want %v", got, test.want)
				}
			})
		})
	}
}

// old is what has become of the object of the pod that needs the one that is gone.
func (l scene) old() v1.AssignedState { return l.store.objects()["team/before-team-old"] }

func TestWhatDoesNotExistCostsOneMoreTry(t *testing.T) {
	play(t, Config{}, func(l scene) {
		stuck(l, false, nil)
		l.deleted(arm("old"), arm("old"))
		l.settle(29 * time.Second)
		if l.old() != v1.Assigned || l.azure.sent() != 2 {
			t.Errorf("before the second word it is %q, after %d PATCHes, want it to stay, after 2", l.old(), l.azure.sent())
		}
		l.settle(5 * time.Second)
		if l.old() != v1.Created || l.azure.sent() != 4 {
			t.Errorf("after the second word it is %q, after %d PATCHes, want it to go, after 4", l.old(), l.azure.sent())
		}
	})
}

func TestTheWordBeforeDoesNotCount(t *testing.T) {
	for sentence, between := range map[string]func(l scene){
		"when there was nothing to do since": func(l scene) {
			after := l.pod("after", "new")
			l.remove(after)
			l.settle(time.Second)
			l.store.put(after)
		},
		"when Azure has been asked what there is": func(l scene) {
			n := l.node()
			l.remove(n)
			l.store.put(n)
		},
		"when it was long ago": func(l scene) {
			other := &compute.Error{Scope: theScope, Doing: "change", Reason: "500 InternalServerError"}
			l.azure.be(func() { l.azure.refuse = func([]string, []string) error { return other } })
			l.settle(12 * time.Minute)
			l.deleted(arm("old"), arm("old"))
			for before := l.azure.sent(); l.azure.sent() == before; {
				l.settle(time.Second)
			}
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			play(t, Config{KeepWarm: time.Hour}, func(l scene) {
				stuck(l, false, nil)
				l.deleted(arm("old"), arm("old"))
				l.settle(20 * time.Second) // the first word
				between(l)
				l.settle(20 * time.Second)
				if l.old() != v1.Assigned {
					t.Errorf("it is %q", l.old())
				}
				l.settle(3 * time.Minute) // after many failures tries are seldom
				if l.old() != v1.Created {
					t.Errorf("after two words from then on it is %q", l.old())
				}
			})
		})
	}
}
