package status

import (
	"errors"
	"testing"

	"github.com/podid-io/podid/internal/cli/command"
)

func TestWhatIsWell(t *testing.T) {
	ready := component{Part: "nmi", Ready: true}
	tests := map[string]struct {
		report report
		want   bool
	}{
		"nothing is there":                      {report{}, false},
		"managed mode":                          {report{Components: []component{ready}}, true},
		"mic leads":                             {report{Components: []component{ready}, mic: true, leads: true}, true},
		"mic does not lead":                     {report{Components: []component{ready}, mic: true}, false},
		"standard mode, and no mic":             {report{Components: []component{ready}, standard: true}, false},
		"mic alone":                             {report{Components: []component{{Part: "mic", Ready: true}}, mic: true, leads: true}, false},
		"a Lease that may not be read":          {report{Components: []component{ready}, mic: true, leaseUnread: true}, true},
		"one is not ready":                      {report{Components: []component{ready, {Part: "nmi"}}}, false},
		"an identity is on its way":             {report{Components: []component{ready}, Identities: []named{{Attached: "Pending"}}}, true},
		"an identity is refused by Azure":       {report{Components: []component{ready}, Identities: []named{{Attached: "False"}}}, false},
		"an identity that needs no attachment":  {report{Components: []component{ready}, Identities: []named{{Type: 1}}}, true},
		"an identity that is where it is to be": {report{Components: []component{ready}, Identities: []named{{Attached: "True"}}}, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tc.report.well(); got != tc.want {
				t.Errorf("well() = %t, want %t", got, tc.want)
			}
		})
	}
}

func TestTheStatusOfTheCommand(t *testing.T) {
	ready := report{Components: []component{{Part: "nmi", Ready: true}}}
	unread, unwell := ready, report{Notes: []string{"it cannot be read"}}
	unread.Notes = unwell.Notes
	for _, tc := range []struct {
		report report
		want   error
	}{{ready, nil}, {unread, command.ErrNotFoundOut}, {unwell, errNotWell}} {
		if got := tc.report.status(); !errors.Is(got, tc.want) {
			t.Errorf("status() of %+v = %v, want %v", tc.report, got, tc.want)
		}
	}
}
