package assignment

import (
	"errors"
	"slices"
	"time"

	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/compute"
)

// refuse takes note that Azure refused an identity, or some, and reports whether
// there is something else to send at once. Where one of those that were sent is to
// blame, that is the rest. Where none is, it is one that is on the machine already:
// if nobody needs it, it goes with the next PATCH, at once when that is new; if it is
// needed, see lose; and if it was to go and was refused, it goes with the next one
// nevertheless, which waits the longer the more often that was. One that is neither
// sent nor there was not named by Azure but misread, or made up: who is to blame is
// found as if none were named.
func (s *state) refuse(f *flight, o outcome) bool {
	e, ok := errors.AsType[*compute.Error](o.err)
	if !ok || e.Kind != compute.BadIdentity || errors.Is(o.err, errRewritten) || len(o.add)+len(o.remove) == 0 {
		return false
	}
	now := time.Now()
	named := slices.DeleteFunc(slices.Clone(e.Identities), func(id string) bool {
		_, known := o.record[id]
		return !known && !o.there[id] && !slices.Contains(o.add, id) && !slices.Contains(o.remove, id)
	})
	cooled := s.machine.Cool(named)
	if s.refusals.Refused(f.changes.Only(o.failed()).Steps(), named, o.err, now) {
		return true
	}
	for _, id := range named {
		s.failures = max(s.failures, s.refusals.Accompany(id))
	}
	lost := s.lose(e.Missing, o)
	return lost || len(cooled) > 0
}

// lose has what podid attached go of which Azure says that it does not exist, so that
// it refuses all that is sent, and reports whether there is any. That is said twice:
// the first time those who need it keep it, and the scope backs off. Any other reason
// than that, such as a right that is missing, takes it from nobody.
func (s *state) lose(missing []string, o outcome) bool {
	missing = slices.DeleteFunc(slices.Clone(missing), func(id string) bool { return !o.there[id] || slices.Contains(o.stay, id) })
	again := slices.DeleteFunc(slices.Clone(missing), func(id string) bool { return !slices.Contains(s.absent, id) })
	lost := s.machine.Lose(again, time.Now())
	for _, id := range lost {
		s.refusals.Isolate(assign.Step{ID: id}, o.err, time.Now())
	}
	for _, id := range missing {
		if !slices.Contains(s.absent, id) {
			s.absent = append(s.absent, id)
		}
	}
	return len(lost) > 0
}

// ended are the changes that are settled, or were carried out.
func (o outcome) ended(c assign.Changes) []assign.Step {
	return slices.DeleteFunc(c.Steps(), func(s assign.Step) bool {
		return slices.Contains(o.left, s.ID) || slices.Contains(o.withheld, s.ID)
	})
}

// failed is what was sent and not carried out for certain.
func (o outcome) failed() []assign.Step {
	sent := assign.Changes{Attach: o.add, Detach: o.remove}.Steps()
	return slices.DeleteFunc(sent, func(s assign.Step) bool { return slices.Contains(o.done, s.ID) })
}
