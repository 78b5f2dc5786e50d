package assignment

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/podid-io/podid/internal/assign"
)

func TestWhatEventsDidNotTellIsFound(t *testing.T) {
	for sentence, test := range map[string]struct {
		told bool // by an event, after the check has looked
		want float64
	}{
		"told late: nothing was missed":     {true, 0},
		"never told: put right and counted": {false, 1},
	} {
		t.Run(sentence, func(t *testing.T) {
			l := newLarge(t)
			p := largePod(manyPods)
			scope, err := scopeOfNode(t.Context(), l.store, p.Spec.NodeName)
			if err != nil {
				t.Fatal(err)
			}
			c := &l.scopes[scope].check
			l.store.put(p)
			c.due = time.Now().Add(-time.Second)
			l.reconcile(t, scope)
			owner := assign.Owner{Namespace: p.Namespace, Name: p.Name}
			if !c.suspects.has(owner) || len(c.suspects) != 1 || len(l.store.objects()) != manyPods {
				t.Fatalf("suspects %v, want the new pod, and nothing done about it", c.suspects)
			}
			if test.told {
				h := routed(l.Reconciler, l.routePod, samePod)
				h.Create(t.Context(), event.TypedCreateEvent[*corev1.Pod]{Object: p}, l.queue)
				l.drain(t)
			}
			c.at = time.Now().Add(-time.Second)
			l.reconcile(t, scope)
			if n := len(l.store.objects()); n != manyPods+1 {
				t.Errorf("%d objects, want %d", n, manyPods+1)
			}
			if got := testutil.ToFloat64(l.metrics.missed); got != test.want {
				t.Errorf("counted %v, want %v", got, test.want)
			}
		})
	}
}

// A cache that is late with a write of ours has events that are late too.
func TestWhatTheCacheDoesNotShowYetWasNotMissed(t *testing.T) {
	l := newLarge(t)
	p := largePod(manyPods)
	scope, err := scopeOfNode(t.Context(), l.store, p.Spec.NodeName)
	if err != nil {
		t.Fatal(err)
	}
	s, owner := l.scopes[scope], assign.Owner{Namespace: p.Namespace, Name: p.Name}
	l.store.put(p)
	s.unseen[owner] = map[types.NamespacedName]seen{{Namespace: p.Namespace, Name: "written"}: {version: "1", by: time.Now().Add(-time.Second)}}
	for _, suspect := range []bool{false, true} {
		s.check.due = time.Now().Add(-time.Second)
		l.reconcile(t, scope)
		if got := s.check.suspects.has(owner); got != suspect || len(s.unseen) > 0 {
			t.Fatalf("it is a suspect: %t, want %t; %d writes are waited for", got, suspect, len(s.unseen))
		}
		if until := time.Until(s.check.due); !suspect && until > overdue+overdue/5 {
			t.Errorf("who was passed over is looked at again in %s, want about %s", until, overdue)
		}
		s.check.late[owner] = time.Now().Add(-time.Second) // a minute later
	}
}

// What the cache does not show in time is written again at once, however late it is.
func TestWhatTheCacheDoesNotShowInTimeIsWrittenAgain(t *testing.T) {
	l := newLarge(t)
	p := largePod(manyPods)
	scope, err := scopeOfNode(t.Context(), l.store, p.Spec.NodeName)
	if err != nil {
		t.Fatal(err)
	}
	s, owner := l.scopes[scope], assign.Owner{Namespace: p.Namespace, Name: p.Name}
	l.store.put(p)
	s.unseen[owner] = map[types.NamespacedName]seen{{Namespace: p.Namespace, Name: "written"}: {version: "1", by: time.Now().Add(-time.Second)}}
	l.touch(scope, owners{owner: {}})
	l.reconcile(t, scope)
	if n := len(l.store.objects()); n != manyPods+1 || len(s.check.suspects) > 0 {
		t.Errorf("%d objects, want %d; suspects %v", n, manyPods+1, s.check.suspects)
	}
}

func TestWhenItIsLookedAtNext(t *testing.T) {
	const whole, moment = time.Hour, time.Minute
	l := newLarge(t)
	l.config.Check = whole
	scope := assign.Scope{Kind: assign.VMSS, Subscription: "s", ResourceGroup: "g", Name: "pool-0"}
	s := l.scopes[scope]
	for sentence, test := range map[string]struct {
		due, at time.Duration // from now; no at: no suspects
		flight  bool
		want    time.Duration
	}{
		"not yet":                                {due: moment, want: moment},
		"now":                                    {due: -moment, want: whole},
		"not while a PATCH is on its way":        {due: -moment, flight: true, want: 0},
		"soon, while one is":                     {due: moment, flight: true, want: moment},
		"suspects before all":                    {due: whole, at: moment, want: moment},
		"suspects are not put off":               {due: -moment, at: moment, want: moment},
		"suspects are not put off in the flight": {due: -moment, at: moment, flight: true, want: moment},
	} {
		t.Run(sentence, func(t *testing.T) {
			now := time.Now()
			s.check, s.flight = check{due: now.Add(test.due)}, nil
			if test.at != 0 {
				s.check.suspects, s.check.at = setOf([]assign.Owner{{Namespace: "team-0", Name: "suspect"}}), now.Add(test.at)
			}
			if test.flight {
				s.flight = &flight{}
			}
			got := l.recheck(t.Context(), scope, s, touched{})
			if got.err != nil || got.wait > test.want+test.want/5 || got.wait < test.want-moment/2 {
				t.Errorf("looked at in %s (%v), want %s", got.wait, got.err, test.want)
			}
		})
	}
}

func TestWhatCouldNotBeLookedAtIsStillSuspect(t *testing.T) {
	l := newLarge(t)
	scope := assign.Scope{Kind: assign.VMSS, Subscription: "s", ResourceGroup: "g", Name: "pool-0"}
	suspect, told := assign.Owner{Namespace: "team-0", Name: "suspect"}, assign.Owner{Namespace: "team-0", Name: "told"}
	s := l.scopes[scope]
	for name, at := range map[string]time.Duration{"in time": -time.Second, "before their time": time.Hour} {
		t.Run(name, func(t *testing.T) {
			s.check.suspects, s.check.at = setOf([]assign.Owner{suspect}), time.Now().Add(at)
			l.touch(scope, setOf([]assign.Owner{told}))
			l.giveBack(scope, s, l.take(scope, s))
			s.check.at = time.Now().Add(-time.Second)
			again := l.take(scope, s)
			if !again.suspects.has(suspect) || again.suspects.has(told) || !again.pods.has(told) || len(again.pods) != 2 {
				t.Errorf("taken over again: %v, of which %v are suspect", again.pods, again.suspects)
			}
		})
	}
}
