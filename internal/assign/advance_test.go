package assign_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
)

func TestAPlanSaysHowItStandsWithBindingsInAdvance(t *testing.T) {
	for sentence, test := range map[string]struct {
		change func(*assign.Snapshot)
		want   assign.Advance
	}{
		"it is there": {
			change: func(s *assign.Snapshot) { s.Record = assign.Record{prefix + "reader": assign.Found} },
			want:   assign.Advance{ID: prefix + "reader", There: true},
		},
		"it waits": {
			want: assign.Advance{ID: prefix + "reader"},
		},
		"it is there, unless the machine is another": {
			change: func(s *assign.Snapshot) {
				s.Record, s.Doubted = assign.Record{prefix + "reader": assign.Attached}, true
			},
			want: assign.Advance{ID: prefix + "reader"},
		},
		"there is no such AzureIdentity": {
			change: func(s *assign.Snapshot) { s.Identities = nil },
			want:   assign.Advance{Why: "there is no AzureIdentity reader in namespace ns"},
		},
		"it is none that is put on machines": {
			change: func(s *assign.Snapshot) { s.Identities[0].Spec.Type = new(v1.ServicePrincipal) },
			want:   assign.Advance{Why: "AzureIdentity reader is none that is put on machines: write spec.type 0 and spec.resourceID, or take the annotation off"},
		},
		"its type is unknown": {
			change: func(s *assign.Snapshot) { s.Identities[0].Spec.Type = new(v1.IdentityType(7)) },
			want:   assign.Advance{Why: "spec.type 7 of the AzureIdentity is unknown: write 0, 1 or 2"},
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			s := world()
			s.Pods, s.PreAssigned = nil, s.Bindings
			if test.change != nil {
				test.change(&s)
			}
			p := s.Plan()
			test.want.Binding = s.Bindings[0]
			if diff := cmp.Diff([]assign.Advance{test.want}, p.Advance); diff != "" {
				t.Errorf("Advance (-want +got):\n%s", diff)
			}
			if needed := len(p.Needs) == 1; needed != (test.want.ID != "") {
				t.Errorf("needs %v", p.Needs)
			}
		})
	}
}
