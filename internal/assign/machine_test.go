package assign_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/identity"
)

// ownersIn are all pods that a snapshot has anything of, in order.
func ownersIn(s assign.Snapshot) []assign.Owner {
	var owners []assign.Owner
	for _, p := range s.Pods {
		owners = append(owners, assign.Owner{Namespace: p.Namespace, Name: p.Name})
	}
	for _, o := range s.Assigned {
		owners = append(owners, assign.Owner{Namespace: o.Spec.PodNamespace, Name: o.Spec.Pod})
	}
	slices.SortFunc(owners, func(x, y assign.Owner) int {
		return strings.Compare(x.Namespace+"/"+x.Name, y.Namespace+"/"+y.Name)
	})
	return slices.Compact(owners)
}

// of is what of a snapshot concerns one pod.
func of(s assign.Snapshot, o assign.Owner) assign.Snapshot {
	s.Pods = slices.DeleteFunc(slices.Clone(s.Pods), func(p identity.Pod) bool { return p.Namespace != o.Namespace || p.Name != o.Name })
	s.Assigned = slices.DeleteFunc(slices.Clone(s.Assigned), func(a *v1.AzureAssignedIdentity) bool {
		return a.Spec.PodNamespace != o.Namespace || a.Spec.Pod != o.Name
	})
	return s
}

// join puts plans for different pods together.
func join(plans map[assign.Owner]assign.Plan) assign.Plan {
	all := assign.Plan{Needs: make(map[assign.Owner][]string)}
	for _, p := range plans {
		all.Create, all.Update = append(all.Create, p.Create...), append(all.Update, p.Update...)
		all.Mark, all.Delete = append(all.Mark, p.Mark...), append(all.Delete, p.Delete...)
		all.Waiting, all.Invalid = append(all.Waiting, p.Waiting...), append(all.Invalid, p.Invalid...)
		maps.Copy(all.Needs, p.Needs)
	}
	return all
}

// inOrder lets plans be compared that were made in different ways.
var inOrder = cmp.Options{
	cmpopts.EquateEmpty(),
	cmpopts.SortSlices(func(x, y *v1.AzureAssignedIdentity) bool { return x.Namespace+"/"+x.Name < y.Namespace+"/"+y.Name }),
	cmpopts.SortSlices(func(x, y assign.Invalid) bool { return x.Object.Name < y.Object.Name }),
}

// TestPieceByPieceComesToTheSame lets one account live through many changes, told
// of each by the pods that it touches, and compares it with plans for all pods.
func TestPieceByPieceComesToTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t)
		m := assign.NewMachine(s.Record, now)
		known := ownersIn(s)
		for range rapid.IntRange(1, 4).Draw(t, "steps") {
			plans := make(map[assign.Owner]assign.Plan)
			for _, o := range slices.Concat(known, ownersIn(s)) {
				plans[o] = of(s, o).Plan()
				m.Need(o, plans[o].Needs[o], now)
			}
			want := planOf(s)
			if diff := cmp.Diff(want.Plan, join(plans), inOrder); diff != "" {
				t.Fatalf("one by one (-all at once +one by one):\n%s", diff)
			}
			if diff := cmp.Diff(want.Changes, m.Plan(now, 0), cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("the machine (-all at once +one by one):\n%s", diff)
			}
			known = ownersIn(s)
			if rapid.Bool().Draw(t, "carried out") {
				s = apply(s, want)
			} else {
				next := drawWishes(t, "next")
				next.Assigned, next.Record, s = s.Assigned, s.Record, next
			}
			m.Learn(s.Record, now)
		}
	})
}

func TestAnIdentityIsKeptWarm(t *testing.T) {
	const (
		id   = prefix + "reader"
		warm = 5 * time.Minute
	)
	web, other := assign.Owner{Namespace: "ns", Name: "web"}, assign.Owner{Namespace: "ns", Name: "other"}
	for sentence, test := range map[string]struct {
		record assign.Ownership
		do     func(*assign.Machine)
		after  time.Duration
		want   assign.Changes
	}{
		"while it is needed nothing is to be done": {
			record: assign.Attached, after: time.Hour,
		},
		"after its last pod it stays for a while": {
			record: assign.Attached, do: func(m *assign.Machine) { m.Need(web, nil, now) }, after: warm - 1,
			want: assign.Changes{Next: now.Add(warm)},
		},
		"and then it goes": {
			record: assign.Attached, do: func(m *assign.Machine) { m.Need(web, nil, now) }, after: warm,
			want: assign.Changes{Detach: []string{id}},
		},
		"one that is not ours is forgotten after a while": {
			record: assign.Found, do: func(m *assign.Machine) { m.Need(web, nil, now) }, after: warm,
			want: assign.Changes{Forget: []string{id}},
		},
		"the last of two pods counts": {
			record: assign.Attached, after: time.Hour,
			do: func(m *assign.Machine) { m.Need(other, []string{id}, now); m.Need(web, nil, now) },
		},
		"needed again meanwhile, the time begins anew": {
			record: assign.Attached, after: warm,
			do: func(m *assign.Machine) {
				m.Need(web, nil, now)
				m.Need(other, []string{id}, now.Add(time.Minute))
				m.Need(other, nil, now.Add(2*time.Minute))
			},
			want: assign.Changes{Next: now.Add(2*time.Minute + warm)},
		},
		"one that may not be there is of use to nobody": {
			record: assign.Attaching, do: func(m *assign.Machine) { m.Need(web, nil, now) },
			want: assign.Changes{Detach: []string{id}},
		},
		"one that is being detached is attached when it is needed": {
			record: assign.Detaching,
			want:   assign.Changes{Attach: []string{id}},
		},
		"one that was lost is attached again": {
			record: assign.Attached, do: func(m *assign.Machine) { m.Learn(assign.Record{}, now) },
			want: assign.Changes{Attach: []string{id}},
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			m := assign.NewMachine(assign.Record{id: test.record}, now)
			m.Need(web, []string{id}, now)
			if test.do != nil {
				test.do(m)
			}
			if diff := cmp.Diff(test.want, m.Plan(now.Add(test.after), warm)); diff != "" {
				t.Errorf("Plan() (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLearningTellsWhatIsNew(t *testing.T) {
	m := assign.NewMachine(assign.Record{"a": assign.Attached, "b": assign.Attached, "c": assign.Attaching}, now)
	web := assign.Owner{Namespace: "ns", Name: "web"}
	m.Need(web, []string{"c"}, now)
	got := m.Learn(assign.Record{"a": assign.Attached, "c": assign.Attached, "d": assign.Found}, now)
	slices.Sort(got)
	if want := []string{"b", "c", "d"}; !slices.Equal(got, want) {
		t.Errorf("Learn() = %v, want %v", got, want)
	}
	if got := m.OwnersOf(got); !slices.Equal(got, []assign.Owner{web}) {
		t.Errorf("OwnersOf() = %v, want web", got)
	}
}

func TestDriftIsSeenBothWays(t *testing.T) {
	web := assign.Owner{Namespace: "ns", Name: "web"}
	for sentence, test := range map[string]struct {
		record assign.Record
		needs  []string
		shown  []string
		want   assign.Record
		drift  assign.Drift
	}{
		"what is as it should be": {
			record: assign.Record{"a": assign.Attached, "b": assign.Found}, needs: []string{"a"}, shown: []string{"a", "b", "others"},
			want: assign.Record{"a": assign.Attached, "b": assign.Found},
		},
		"one that is needed was taken off": {
			record: assign.Record{"a": assign.Attached}, needs: []string{"a"},
			want: assign.Record{}, drift: assign.Drift{Lost: []string{"a"}},
		},
		"one that was found there was taken off": {
			record: assign.Record{"a": assign.Found}, needs: []string{"a"},
			want: assign.Record{}, drift: assign.Drift{Lost: []string{"a"}},
		},
		"one that nobody needs was taken off": {
			record: assign.Record{"a": assign.Attached},
			want:   assign.Record{}, drift: assign.Drift{Gone: []string{"a"}},
		},
		"one that is needed was put there": {
			needs: []string{"a"}, shown: []string{"a"},
			want: assign.Record{"a": assign.Found}, drift: assign.Drift{Found: []string{"a"}},
		},
		"what may be ours stays an intent": {
			record: assign.Record{"a": assign.Attaching, "b": assign.Detaching, "c": assign.Attaching}, needs: []string{"a"}, shown: []string{"a", "b"},
			want: assign.Record{"a": assign.Attaching, "b": assign.Detaching, "c": assign.Attaching},
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			m := assign.NewMachine(test.record, now)
			m.Need(web, test.needs, now)
			shown := make(map[string]bool)
			for _, id := range test.shown {
				shown[id] = true
			}
			got, drift := m.Compare(shown)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("record (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.drift, drift); diff != "" || drift.Empty() != cmp.Equal(test.drift, assign.Drift{}) {
				t.Errorf("drift (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatIsCooledIsNotKeptWarm(t *testing.T) {
	m := assign.NewMachine(assign.Record{"idle": assign.Attached, "used": assign.Attached, "found": assign.Found}, now)
	m.Need(assign.Owner{Name: "web"}, []string{"used"}, now)
	if got := m.Plan(now, time.Hour); len(got.Detach) > 0 {
		t.Fatalf("Plan() detaches %v, want all kept warm", got.Detach)
	}
	for _, want := range [][]string{{"idle"}, nil} { // that is told once
		if got := m.Cool([]string{"idle", "used", "found", "unknown"}); !slices.Equal(got, want) {
			t.Errorf("Cool() = %v, want %v", got, want)
		}
	}
	if got := m.Plan(now, time.Hour); !slices.Equal(got.Detach, []string{"idle"}) {
		t.Errorf("Plan() detaches %v, want the one that nobody needs", got.Detach)
	}
}
