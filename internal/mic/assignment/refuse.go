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

// Bounds of the time between two words of Azure's that something does not exist, so
// that they count as two: sooner they are of the same moment, which may pass, and later
// of two occasions that have nothing to do with each other.
const (
	soonestAgain = 30 * time.Second
	latestAgain  = 10 * time.Minute
)

// lose has what podid attached go of which Azure says that it does not exist, so that
// it refuses all that is sent, and reports whether there is any. That is said twice:
// the first time those who need it keep it, and the scope waits for the second. Any
// other reason than that, such as a right that is missing, takes it from nobody.
func (s *state) lose(missing []string, o outcome) bool {
	now := time.Now()
	var again []string
	for _, id := range missing {
		if !o.there[id] || slices.Contains(o.stay, id) {
			continue
		}
		first, said := s.absent[id]
		switch since := now.Sub(first); {
		case !said || since > latestAgain:
			s.absent[id] = now
		case since >= soonestAgain:
			again = append(again, id)
		}
	}
	lost := s.machine.Lose(again, now)
	for _, id := range lost {
		s.refusals.Isolate(assign.Step{ID: id}, o.err, now)
	}
	return len(lost) > 0
}

// untilAgain is how long it is until Azure's word counts as the second of one of those
// of which it just said the first: to try sooner would be in vain.
func (s *state) untilAgain(err error) time.Duration {
	e, ok := errors.AsType[*compute.Error](err)
	if !ok {
		return 0
	}
	var least time.Duration
	for _, id := range e.Missing {
		first, said := s.absent[id]
		wait := soonestAgain - time.Since(first)
		if said && wait > 0 && (least == 0 || wait < least) {
			least = wait
		}
	}
	return least
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
