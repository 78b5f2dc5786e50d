package assign_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/internal/assign"
)

func TestIntend(t *testing.T) {
	present := map[string]bool{"there": true}
	for sentence, test := range map[string]struct {
		record         assign.Record
		uncertain      bool
		attach, detach []string
		want           assign.Record
		add, remove    []string
	}{
		"attach what is not there": {
			attach: []string{"new"}, want: assign.Record{"new": assign.Attaching}, add: []string{"new"},
		},
		"find what somebody else attached": {
			attach: []string{"there"}, want: assign.Record{"there": assign.Found},
		},
		"find what we attached before we ended": {
			record: assign.Record{"there": assign.Attaching}, attach: []string{"there"}, want: assign.Record{"there": assign.Attached},
		},
		"find what we did not come to detach": {
			record: assign.Record{"there": assign.Detaching}, attach: []string{"there"}, want: assign.Record{"there": assign.Attached},
		},
		"attach again what somebody took off": {
			record: assign.Record{"gone": assign.Attaching}, attach: []string{"gone"},
			want: assign.Record{"gone": assign.Attaching}, add: []string{"gone"},
		},
		"detach what is there": {
			record: assign.Record{"there": assign.Attached}, detach: []string{"there"},
			want: assign.Record{"there": assign.Detaching}, remove: []string{"there"},
		},
		"send again what an operation that failed was to detach": {
			record: assign.Record{"gone": assign.Detaching}, uncertain: true, detach: []string{"gone"},
			want: assign.Record{"gone": assign.Detaching}, remove: []string{"gone"},
		},
		"nothing to detach": {
			record: assign.Record{"gone": assign.Attached}, detach: []string{"gone"}, want: assign.Record{},
		},
		"send again what an operation that failed was to attach": {
			record: assign.Record{"there": assign.Attaching}, uncertain: true, attach: []string{"there"},
			want: assign.Record{"there": assign.Attaching}, add: []string{"there"},
		},
		"send again what an operation that failed was to detach, and is needed": {
			record: assign.Record{"there": assign.Detaching}, uncertain: true, attach: []string{"there"},
			want: assign.Record{"there": assign.Attaching}, add: []string{"there"},
		},
		"send what somebody else's operation that failed was to attach, and let it be theirs": {
			uncertain: true, attach: []string{"there"}, want: assign.Record{}, add: []string{"there"},
		},
		"detach what an operation that failed was to attach": {
			record: assign.Record{"there": assign.Attaching}, uncertain: true, detach: []string{"there"},
			want: assign.Record{"there": assign.Detaching}, remove: []string{"there"},
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			next, add, remove := test.record.Intend(present, !test.uncertain, test.attach, test.detach)
			for _, diff := range []string{cmp.Diff(test.want, next), cmp.Diff(test.add, add), cmp.Diff(test.remove, remove)} {
				if diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
			if diff := cmp.Diff(test.record, next.Undo(test.record, slices.Concat(test.attach, test.detach)), equateNil); diff != "" {
				t.Errorf("Undo (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDone(t *testing.T) {
	record := assign.Record{"new": assign.Attaching, "old": assign.Detaching, "kept": assign.Attached, "other": assign.Attaching}
	want := assign.Record{"new": assign.Attached, "kept": assign.Attached, "other": assign.Attaching, "theirs": assign.Found}
	if diff := cmp.Diff(want, record.Done([]string{"new", "old", "theirs"})); diff != "" {
		t.Errorf("Done() (-want +got):\n%s", diff)
	}
}

// equateNil makes no difference between no record and an empty one.
var equateNil = cmp.Transformer("record", func(r assign.Record) map[string]assign.Ownership {
	if len(r) == 0 {
		return nil
	}
	return r
})
