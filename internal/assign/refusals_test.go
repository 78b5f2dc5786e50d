package assign_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/podid-io/podid/internal/assign"
)

func exactly(d time.Duration) time.Duration { return d }

// refusing is an Azure that refuses a PATCH with one of the bad identities, and
// names it or does not.
type refusing struct {
	bad     map[string]bool
	names   bool
	patches int
	there   map[string]bool
}

// send sends until there is nothing to send at the time; it returns when there
// will be.
func (a *refusing) send(t interface{ Fatalf(string, ...any) }, r *assign.Refusals, ids []string, now time.Time) time.Time {
	for range 1000 {
		todo := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return a.there[id] })
		steps, due := r.Next(assign.Changes{Attach: todo}, now)
		if len(steps) == 0 {
			return due
		}
		a.patches++
		var named []string
		refused := false
		for _, s := range steps {
			if a.bad[s.ID] {
				refused = true
				if a.names && len(named) == 0 {
					named = []string{s.ID} // Azure names one of several
				}
			}
		}
		if refused {
			r.Refused(steps, named, errors.New("refused"), now)
			continue
		}
		for _, s := range steps {
			a.there[s.ID] = true
		}
		r.Done(steps, now)
	}
	t.Fatalf("it never ends")
	return time.Time{}
}

func idsUpTo(n int) []string {
	var ids []string
	for i := range n {
		ids = append(ids, fmt.Sprintf("id-%02d", i))
	}
	return ids
}

func TestOneBadOfTwentyTakesAFewPatches(t *testing.T) {
	for sentence, test := range map[string]struct {
		names       bool
		first, five int // PATCHes until the others are there, and in five minutes
	}{
		"named":     {true, 2, 5},
		"not named": {false, 7, 10}, // 20 refused; halves of 10, 5, 3 and 2, one alone, and the rest
	} {
		t.Run(sentence, func(t *testing.T) {
			a := &refusing{bad: map[string]bool{"id-07": true}, names: test.names, there: make(map[string]bool)}
			r := assign.NewRefusals(30*time.Second, exactly)
			at := now
			due := a.send(t, r, idsUpTo(20), at)
			if a.patches > test.first || len(a.there) != 19 {
				t.Errorf("%d there after %d PATCHes, want 19 after %d", len(a.there), a.patches, test.first)
			}
			var waits []time.Duration
			for due.Sub(now) < 5*time.Minute {
				waits = append(waits, due.Sub(at))
				at = due
				due = a.send(t, r, idsUpTo(20), at)
			}
			if diff := cmp.Diff([]time.Duration{30 * time.Second, time.Minute, 2 * time.Minute}, waits); diff != "" {
				t.Errorf("tried again after (-want +got):\n%s", diff)
			}
			if a.patches > test.five {
				t.Errorf("%d PATCHes in five minutes, want at most %d", a.patches, test.five)
			}
		})
	}
}

func TestQuarantineIsNotForEver(t *testing.T) {
	a := &refusing{bad: map[string]bool{"id-00": true, "id-01": true}, names: true, there: make(map[string]bool)}
	r := assign.NewRefusals(30*time.Second, exactly)
	at := a.send(t, r, idsUpTo(3), now)
	if r.Quarantined() != 2 {
		t.Fatalf("%d in quarantine, want both that are bad", r.Quarantined())
	}
	if alone, why := r.Why(assign.Step{ID: "id-00"}); why == nil || !alone {
		t.Errorf("Why() = %v, %v of one that is bad", why, alone)
	}
	if _, why := r.Why(assign.Step{ID: "id-02"}); why != nil {
		t.Errorf("Why() = %v of one that is not bad", why)
	}
	for range 20 {
		last := at
		if at = a.send(t, r, idsUpTo(3), at); at.Sub(last) > 15*time.Minute {
			t.Fatalf("not tried for %s", at.Sub(last))
		}
	}
	patches := a.patches
	a.send(t, r, idsUpTo(4), at.Add(-time.Minute))
	if !a.there["id-03"] || a.patches != patches+1 {
		t.Errorf("one that is new waits for those in quarantine")
	}
	a.bad = nil
	a.send(t, r, idsUpTo(4), at)
	if len(a.there) != 4 || a.patches != patches+2 || r.Quarantined() != 0 {
		t.Errorf("%d there after %d more PATCHes, want 4 after 2; %d in quarantine", len(a.there), a.patches-patches, r.Quarantined())
	}
}

func TestOneThatNobodyWantsAnyMoreIsLetGo(t *testing.T) {
	r := assign.NewRefusals(30*time.Second, exactly)
	r.Refused([]assign.Step{{ID: "a"}}, nil, errors.New("refused"), now)
	r.Refused([]assign.Step{{ID: "b"}, {ID: "c"}}, nil, errors.New("refused"), now)
	if steps, due := r.Next(assign.Changes{}, now); len(steps) > 0 || !due.Equal(now.Add(30*time.Second)) || r.Quarantined() != 1 {
		t.Errorf("Next() = %v, %v; %d in quarantine, want the one that is not due, until it is", steps, due, r.Quarantined())
	}
	if r.Next(assign.Changes{}, now.Add(time.Hour)); r.Quarantined() != 0 {
		t.Errorf("%d still in quarantine", r.Quarantined())
	}
}

func TestToDetachIsAnotherThingThanToAttach(t *testing.T) {
	r := assign.NewRefusals(30*time.Second, exactly)
	r.Refused([]assign.Step{{ID: "a"}}, []string{"a"}, errors.New("refused"), now)
	want := []assign.Step{{ID: "a", Detach: true}}
	if got, _ := r.Next(assign.Changes{Detach: []string{"a"}}, now); !slices.Equal(got, want) {
		t.Errorf("Next() = %v, want %v", got, want)
	}
}

func TestWhateverIsBadTheGoodArrive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := idsUpTo(rapid.IntRange(1, 40).Draw(t, "identities"))
		a := &refusing{bad: make(map[string]bool), names: rapid.Bool().Draw(t, "named"), there: make(map[string]bool)}
		for _, id := range rapid.SliceOfN(rapid.SampledFrom(ids), 0, 5).Draw(t, "bad") {
			a.bad[id] = true
		}
		r := assign.NewRefusals(30*time.Second, exactly)
		a.send(t, r, ids, now)
		if len(a.there) != len(ids)-len(a.bad) || r.Quarantined() != len(a.bad) {
			t.Fatalf("%d of %d are there with %d bad; %d in quarantine", len(a.there), len(ids), len(a.bad), r.Quarantined())
		}
		if most := 1 + len(a.bad)*12; a.patches > most {
			t.Fatalf("%d PATCHes for %d bad, want at most %d", a.patches, len(a.bad), most)
		}
	})
}

func TestWhereAnotherIsNamedNobodyIsToBlame(t *testing.T) {
	r := assign.NewRefusals(30*time.Second, exactly)
	sent := []assign.Step{{ID: "a"}, {ID: "b"}}
	if r.Refused(sent, []string{"there-already"}, errors.New("refused"), now) {
		t.Error("Refused() = true, want false")
	}
	if got, _ := r.Next(assign.Changes{Attach: []string{"a", "b"}}, now); !slices.Equal(got, sent) || r.Quarantined() != 0 {
		t.Errorf("Next() = %v with %d in quarantine, want both as if nothing had been", got, r.Quarantined())
	}
}

func TestWhereverTheBadOneIsItTakesAFewPatches(t *testing.T) {
	for i, bad := range idsUpTo(20) {
		a := &refusing{bad: map[string]bool{bad: true}, there: make(map[string]bool)}
		a.send(t, assign.NewRefusals(30*time.Second, exactly), idsUpTo(20), now)
		if a.patches > 8 || len(a.there) != 19 {
			t.Errorf("with number %d bad %d are there after %d PATCHes, want 19 after 8", i, len(a.there), a.patches)
		}
	}
}

func TestSeveralThatAreNotNamedAreTriedOneByOne(t *testing.T) {
	const bad = 5
	a := &refusing{bad: make(map[string]bool), there: make(map[string]bool)}
	for _, id := range idsUpTo(bad) {
		a.bad[id] = true
	}
	r := assign.NewRefusals(30*time.Second, exactly)
	at := a.send(t, r, idsUpTo(20), now)
	for round, most := range []int{1, bad, bad, bad} { // together, and then alone
		before := a.patches
		at = a.send(t, r, idsUpTo(20), at)
		if got := a.patches - before; got > most {
			t.Errorf("%d PATCHes in round %d, want at most %d", got, round, most)
		}
	}
	delete(a.bad, "id-03") // given the role
	a.send(t, r, idsUpTo(20), at)
	if !a.there["id-03"] || len(a.there) != 16 {
		t.Errorf("%d are there, want the one that is not refused any more too", len(a.there))
	}
}

func TestADetachmentWithoutWhichNothingIsTakenGoesAlong(t *testing.T) {
	old, fresh := assign.Step{ID: "old", Detach: true}, assign.Step{ID: "new"}
	c := assign.Changes{Attach: []string{"new"}, Detach: []string{"old"}}
	for sentence, test := range map[string]struct {
		refused [][]assign.Step // PATCHes, one after the other
		named   []string
		want    int // failures
	}{
		"from quarantine":     {[][]assign.Step{{fresh, old}}, []string{"old"}, 1},
		"and more than once":  {[][]assign.Step{{fresh, old}, {fresh, old}}, []string{"old"}, 2},
		"from among suspects": {[][]assign.Step{{{ID: "other"}, old}}, nil, 0},
		"if it is in neither": {nil, nil, 0},
	} {
		t.Run(sentence, func(t *testing.T) {
			r := assign.NewRefusals(30*time.Second, exactly)
			for _, sent := range test.refused {
				r.Refused(sent, test.named, errors.New("refused"), now)
				if got, _ := r.Next(c, now); slices.Contains(got, old) {
					t.Errorf("Next() = %v at first, want it apart", got)
				}
			}
			if got := r.Accompany("old"); got != test.want {
				t.Errorf("Accompany() = %d, want %d", got, test.want)
			}
			if got, _ := r.Next(c, now); !slices.Equal(got, []assign.Step{fresh, old}) {
				t.Errorf("Next() = %v, want both", got)
			}
		})
	}
}
