package assign

import (
	"maps"
	"slices"
	"time"
)

// Owner is who needs an identity on a scope: a pod, or a binding that has its
// identity there before any pod, by name.
type Owner struct {
	Binding         bool
	Namespace, Name string
}

// Machine is the account of the identities of one scope: what is known of each,
// and who needs it. It is kept up to date piece by piece, so that a change costs
// what it touches and not what there is. It knows no clock: now is given.
type Machine struct {
	record Record
	needs  map[string]map[Owner]struct{} // by identity
	of     map[Owner][]string            // by owner, sorted

	// What there may be to do, kept so that nobody has to look at everything:
	// identities that are needed and not known to be there, and since when those
	// in the record have not been needed.
	missing map[string]struct{}
	idle    map[string]time.Time
	// lost are those of missing that have to go first: see Lose.
	lost map[string]struct{}
}

// Changes is what to do about the identities of a scope, by ARM id, each list in
// order.
type Changes struct {
	// Attach are needed and not known to be attached. Detach are those that podid
	// attached and nobody needs, or that are lost. None is in both.
	Attach, Detach []string
	// Forget are in the record, and nobody's to detach or to need.
	Forget []string
	// Next is when there will be more to detach or forget; zero for never.
	Next time.Time
}

// NewMachine begins an account. Nobody needs anything yet.
func NewMachine(record Record, now time.Time) *Machine {
	m := &Machine{
		record: Record{},
		needs:  make(map[string]map[Owner]struct{}), of: make(map[Owner][]string),
		missing: make(map[string]struct{}), idle: make(map[string]time.Time),
		lost: make(map[string]struct{}),
	}
	m.Learn(record, now)
	return m
}

// Record is what is known. It is the machine's own: do not change it.
func (m *Machine) Record() Record { return m.record }

// Learn replaces what is known, and returns the identities of which something
// else is known now.
func (m *Machine) Learn(record Record, now time.Time) []string {
	before := m.record
	m.record = record.clone()
	var changed []string
	for id, o := range record {
		if before[id] != o {
			changed = append(changed, id)
		}
	}
	for id := range before {
		if _, ok := record[id]; !ok {
			changed = append(changed, id)
		}
	}
	for _, id := range changed {
		m.judge(id, now)
	}
	return changed
}

// Mark replaces what is known of some identities.
func (m *Machine) Mark(ids []string, as Ownership, now time.Time) {
	for _, id := range ids {
		m.record[id] = as
		m.judge(id, now)
	}
}

// Need says which identities an owner needs from now on: a sorted list without
// repetitions, empty for none.
func (m *Machine) Need(o Owner, ids []string, now time.Time) {
	before := m.of[o]
	if slices.Equal(before, ids) {
		return
	}
	if len(ids) == 0 {
		delete(m.of, o)
	} else {
		m.of[o] = ids
	}
	for _, id := range ids {
		if m.needs[id] == nil {
			m.needs[id] = make(map[Owner]struct{}, 1)
		}
		m.needs[id][o] = struct{}{}
	}
	for _, id := range before {
		if _, still := slices.BinarySearch(ids, id); still {
			continue
		}
		if delete(m.needs[id], o); len(m.needs[id]) == 0 {
			delete(m.needs, id)
		}
	}
	for _, id := range slices.Concat(before, ids) {
		m.judge(id, now)
	}
}

// Needs is what an owner needs, in order. Do not change it.
func (m *Machine) Needs(o Owner) []string { return m.of[o] }

// Owners are all who need anything, in no order.
func (m *Machine) Owners() []Owner { return slices.Collect(maps.Keys(m.of)) }

// OwnersOf are those who need one of the identities, in no order.
func (m *Machine) OwnersOf(ids []string) []Owner {
	var owners []Owner
	for _, id := range ids {
		owners = slices.AppendSeq(owners, maps.Keys(m.needs[id]))
	}
	return owners
}

// Empty reports whether nothing is known and nobody needs anything.
func (m *Machine) Empty() bool { return len(m.record)+len(m.of) == 0 }

// judge puts an identity where it belongs after something has changed.
func (m *Machine) judge(id string, now time.Time) {
	o, known := m.record[id]
	needed := len(m.needs[id]) > 0
	if o != Detaching || !needed {
		delete(m.lost, id)
	}
	if needed && !o.there() {
		m.missing[id] = struct{}{}
	} else {
		delete(m.missing, id)
	}
	if needed || !known {
		delete(m.idle, id)
	} else if _, already := m.idle[id]; !already {
		m.idle[id] = now
	}
}

// Cool has those of the identities that nobody needs kept warm no longer, and returns
// those that are podid's and were until now.
func (m *Machine) Cool(ids []string) []string {
	var cooled []string
	for _, id := range ids {
		since, idle := m.idle[id]
		if !idle {
			continue
		}
		if !since.IsZero() && m.record[id] == Attached {
			cooled = append(cooled, id)
		}
		m.idle[id] = time.Time{}
	}
	return cooled
}

// Lose takes those of the identities for lost that podid attached and that are
// needed, and returns them: Azure has said that they do not exist, though they are
// there, and refuses every change until they are gone. They are to be detached, and
// to be attached again after that.
func (m *Machine) Lose(ids []string, now time.Time) []string {
	var lost []string
	for _, id := range ids {
		if m.record[id] == Attached && len(m.needs[id]) > 0 {
			m.lost[id] = struct{}{}
			lost = append(lost, id)
		}
	}
	m.Mark(lost, Detaching, now)
	return lost
}

// IsLost reports whether an identity is needed and has to go first.
func (m *Machine) IsLost(id string) bool {
	_, lost := m.lost[id]
	return lost
}

// Plan decides. An identity that is there is kept for as long as warm after its
// last owner, so that churn changes nothing on the machine. One of which it is
// not known whether it is there is of no use to anybody, and goes at once.
func (m *Machine) Plan(now time.Time, warm time.Duration) Changes {
	var c Changes
	for id := range m.missing {
		if _, lost := m.lost[id]; lost {
			c.Detach = append(c.Detach, id)
		} else {
			c.Attach = append(c.Attach, id)
		}
	}
	for id, since := range m.idle {
		o := m.record[id]
		due := since.Add(warm)
		switch {
		case o.there() && now.Before(due):
			if c.Next.IsZero() || due.Before(c.Next) {
				c.Next = due
			}
		case o.ours():
			c.Detach = append(c.Detach, id)
		default:
			c.Forget = append(c.Forget, id)
		}
	}
	slices.Sort(c.Attach)
	slices.Sort(c.Detach)
	slices.Sort(c.Forget)
	return c
}

// Drift is how what Azure shows differs from the record, by ARM id.
type Drift struct {
	// Lost are needed, on record as attached, and not shown. Gone likewise, and
	// nobody needs them. Found are needed, and shown without podid's doing.
	Lost, Gone, Found []string
}

// Empty reports whether there is none.
func (d Drift) Empty() bool { return len(d.Lost)+len(d.Gone)+len(d.Found) == 0 }

// Compare compares the record with the identities that Azure shows for certain,
// while no change is under way, and returns the record as it should be. What is
// to be attached is on record, if at all, as an intent, which stays: the next
// change settles it.
func (m *Machine) Compare(shown map[string]bool) (Record, Drift) {
	next := m.record.clone()
	var d Drift
	for id, o := range m.record {
		switch {
		case shown[id] || !o.there():
			continue
		case len(m.needs[id]) > 0:
			d.Lost = append(d.Lost, id)
		default:
			d.Gone = append(d.Gone, id)
		}
		delete(next, id)
	}
	for id := range m.missing {
		if _, known := m.record[id]; !known && shown[id] {
			next[id] = Found
			d.Found = append(d.Found, id)
		}
	}
	slices.Sort(d.Lost)
	slices.Sort(d.Gone)
	slices.Sort(d.Found)
	return next, d
}
