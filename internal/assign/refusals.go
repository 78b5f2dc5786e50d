package assign

import (
	"cmp"
	"slices"
	"time"
)

// Step is one change of a machine: an identity, by ARM id, to be attached or
// detached.
type Step struct {
	ID     string
	Detach bool
}

// Refusals is what Azure has refused on one scope. One identity that is refused
// has a whole PATCH refused. Where Azure names it, it goes into quarantine and the
// rest is sent again. Where it does not, one half is sent. When that is done it must
// be the other, which is halved at once; when that is refused too, it is halved, and
// nothing is known of the other, which is tried last, with its like:
//
//	(fresh) --refused, named or alone--> quarantine --due--> tried, with others that are due
//	        --refused, not named--> suspects (two halves), tried in turn
//	quarantine --due, refused with others, not named--> quarantine, tried alone from then on
//
// What is fresh never waits for the others. A detachment without which nothing is
// taken goes with what is fresh: see Accompany. It knows no clock: now is given.
type Refusals struct {
	first      time.Duration // in quarantine
	jitter     func(time.Duration) time.Duration
	quarantine map[Step]*quarantine
	suspects   []suspects
	pairs      int // that there have been
}

// NewRefusals begins with none. first is how long one is in quarantine the first
// time, and jitter makes a time longer by chance.
func NewRefusals(first time.Duration, jitter func(time.Duration) time.Duration) *Refusals {
	return &Refusals{first: first, jitter: jitter, quarantine: make(map[Step]*quarantine)}
}

// quarantine is of one that is tried again with its like; alone, where they were
// refused together and it is not known which.
type quarantine struct {
	failures int
	due      time.Time
	why      error
	alone    bool
	along    bool // it goes with what is fresh
}

// suspects are some of whom at least one may be refused. Two halves of a pair have
// the same number, not 0: in one of them at least there is one.
type suspects struct {
	steps []Step
	why   error
	pair  int
}

// mostQuarantine is how many times the first time one stays in quarantine at most.
// It is twice as long each time.
const mostQuarantine = 30

// Next says what of the changes to send in one PATCH. Where that is nothing, due is
// when there will be something, or when one in quarantine that is no change any more
// will be let go of; zero for never.
func (r *Refusals) Next(c Changes, now time.Time) (send []Step, due time.Time) {
	wanted := c.Steps()
	r.prune(wanted, now)
	if fresh := slices.DeleteFunc(slices.Clone(wanted), r.known); len(fresh) > 0 {
		return fresh, time.Time{}
	}
	if len(r.suspects) > 0 {
		return r.suspects[0].steps, time.Time{}
	}
	var alone []Step
	for s, q := range r.quarantine {
		switch {
		case now.Before(q.due):
			if due.IsZero() || q.due.Before(due) {
				due = q.due
			}
		case q.alone:
			alone = append(alone, s)
		default:
			send = append(send, s)
		}
	}
	if len(send) == 0 && len(alone) > 0 { // each of them takes a PATCH
		send = []Step{slices.MinFunc(alone, func(x, y Step) int { return r.quarantine[x].due.Compare(r.quarantine[y].due) })}
	}
	slices.SortFunc(send, func(x, y Step) int { return cmp.Compare(x.ID, y.ID) })
	return send, due
}

// Only is the changes that are among the steps.
func (c Changes) Only(some []Step) Changes {
	return Changes{
		Attach: slices.DeleteFunc(slices.Clone(c.Attach), func(id string) bool { return !slices.Contains(some, Step{ID: id}) }),
		Detach: slices.DeleteFunc(slices.Clone(c.Detach), func(id string) bool { return !slices.Contains(some, Step{ID: id, Detach: true}) }),
	}
}

// Steps are the attachments and detachments, in order.
func (c Changes) Steps() []Step {
	all := make([]Step, 0, len(c.Attach)+len(c.Detach))
	for _, id := range c.Attach {
		all = append(all, Step{ID: id})
	}
	for _, id := range c.Detach {
		all = append(all, Step{ID: id, Detach: true})
	}
	return all
}

// known reports whether a step is suspected, or in quarantine and not to go along.
func (r *Refusals) known(s Step) bool {
	q := r.quarantine[s]
	return q != nil && !q.along ||
		slices.ContainsFunc(r.suspects, func(g suspects) bool { return slices.Contains(g.steps, s) })
}

// prune lets go of what is not wanted. One in quarantine stays until it is due, so
// that pods that come and go do not have it tried each time.
func (r *Refusals) prune(wanted []Step, now time.Time) {
	gone := func(s Step) bool { return !slices.Contains(wanted, s) }
	for s, q := range r.quarantine {
		if !now.Before(q.due) && gone(s) {
			delete(r.quarantine, s)
		}
	}
	r.drop(gone)
}

// drop takes steps off the lists of suspects. What is left of a pair says nothing
// about the other half any more, and is put with its like.
func (r *Refusals) drop(gone func(Step) bool) {
	broken := make(map[int]bool)
	for i, g := range r.suspects {
		if rest := slices.DeleteFunc(slices.Clone(g.steps), gone); len(rest) < len(g.steps) {
			broken[g.pair], r.suspects[i].steps = true, rest
		}
	}
	var last suspects
	r.suspects = slices.DeleteFunc(r.suspects, func(g suspects) bool {
		single := g.pair == 0 || broken[g.pair]
		if single {
			last.steps, last.why = slices.Concat(last.steps, g.steps), g.why
		}
		return single
	})
	if len(last.steps) > 0 {
		r.suspects = append(r.suspects, last)
	}
}

// Refused takes note that a PATCH of these steps was refused, since one of them
// cannot be. named are the ARM ids that Azure named. It reports false where Azure
// named only others: none of these is to blame then, and nothing is noted.
func (r *Refusals) Refused(sent []Step, named []string, why error, now time.Time) bool {
	guilty := slices.DeleteFunc(slices.Clone(sent), func(s Step) bool { return !slices.Contains(named, s.ID) })
	if len(guilty) == 0 && len(named) > 0 {
		return false
	}
	before := !slices.ContainsFunc(sent, func(s Step) bool { return r.quarantine[s] == nil })
	r.drop(func(s Step) bool { return slices.Contains(sent, s) })
	switch {
	case len(guilty) > 0:
		for _, s := range guilty {
			r.isolate(s, why, now)
		}
	case before: // each has been refused alone
		for _, s := range sent {
			r.isolate(s, why, now)
			r.quarantine[s].alone = true
		}
	default:
		r.convict(sent, why, now)
	}
	return true
}

// convict has steps of whom one at least is refused tried by halves. One alone
// goes into quarantine.
func (r *Refusals) convict(steps []Step, why error, now time.Time) {
	if half := len(steps) / 2; half > 0 {
		r.pairs++
		r.suspects = slices.Insert(r.suspects, 0,
			suspects{slices.Clone(steps[:half]), why, r.pairs}, suspects{slices.Clone(steps[half:]), why, r.pairs})
		return
	}
	for _, s := range steps {
		r.isolate(s, why, now)
	}
}

// Isolate puts into quarantine what was not sent: Azure has said why it would be
// refused.
func (r *Refusals) Isolate(s Step, why error, now time.Time) {
	r.drop(func(x Step) bool { return x == s })
	r.isolate(s, why, now)
}

// Accompany has the detachment of an identity, if it is in quarantine or suspected, go
// with the next PATCH and not apart: Azure refuses what is sent without it. It returns
// how often that one has been refused itself, for the caller to wait as long.
func (r *Refusals) Accompany(id string) (failures int) {
	s := Step{ID: id, Detach: true}
	r.drop(func(x Step) bool { return x == s })
	q := r.quarantine[s]
	if q == nil {
		return 0
	}
	q.along = true
	return q.failures
}

// isolate puts one in quarantine.
func (r *Refusals) isolate(s Step, why error, now time.Time) {
	q := r.quarantine[s]
	if q == nil {
		q = new(quarantine)
		r.quarantine[s] = q
	}
	q.due = now.Add(r.jitter(r.first * time.Duration(min(1<<min(q.failures, 10), mostQuarantine))))
	q.failures++
	q.why, q.along = why, false
}

// Done takes note that a PATCH of these steps was carried out.
func (r *Refusals) Done(sent []Step, now time.Time) {
	for _, s := range sent {
		delete(r.quarantine, s)
	}
	pair := 0
	r.suspects = slices.DeleteFunc(r.suspects, func(g suspects) bool {
		if !slices.Equal(g.steps, sent) {
			return false
		}
		pair = g.pair
		return true
	})
	other := slices.IndexFunc(r.suspects, func(g suspects) bool { return pair != 0 && g.pair == pair })
	if other >= 0 {
		g := r.suspects[other]
		if len(g.steps) > 1 { // one alone has to be refused itself: Azure may think otherwise by now
			r.suspects = slices.Delete(r.suspects, other, other+1)
			r.convict(g.steps, g.why, now)
		}
	}
	r.drop(func(s Step) bool { return slices.Contains(sent, s) })
}

// Why is the error for which a step is not sent with the others, nil for none.
// alone says that it was this one that was refused.
func (r *Refusals) Why(s Step) (alone bool, why error) {
	if q := r.quarantine[s]; q != nil {
		return true, q.why
	}
	for _, g := range r.suspects {
		if slices.Contains(g.steps, s) {
			return false, g.why
		}
	}
	return false, nil
}

// Quarantined is how many identities are in quarantine.
func (r *Refusals) Quarantined() int { return len(r.quarantine) }
