package assign

import (
	"maps"
	"slices"
)

// Ownership is what is known about one identity on a scope.
//
//	(none) --about to PATCH--> Attaching --done--> Attached --about to PATCH--> Detaching --done--> (none)
//	(none) --was there already--> Found --nobody needs it--> (none)
//
// Attaching and Detaching are intents: written before the PATCH, so that
// whoever finds them after a crash knows that podid may have done it and asks
// Azure before anything else.
type Ownership string

// The values of Ownership; "" means nothing is known.
const (
	// Attaching means that podid is about to attach it, or was when it ended.
	Attaching Ownership = "Attaching"
	// Attached means that podid attached it.
	Attached Ownership = "Attached"
	// Detaching means that podid is about to detach it, or was when it ended.
	Detaching Ownership = "Detaching"
	// Found means that it was there before podid needed it: never ours to detach.
	Found Ownership = "Found"
)

// there reports whether the identity is known to be attached.
func (o Ownership) there() bool { return o == Attached || o == Found }

// ours reports whether podid may detach the identity.
func (o Ownership) ours() bool { return o == Attached || o == Attaching || o == Detaching }

// Record is what is known about the identities of a scope, by ARM id in lower
// case. It survives restarts; who attached what can be read nowhere else.
type Record map[string]Ownership

// Intend returns what the record is to say before a PATCH, given the ids of
// the identities that Azure shows now, and what is left for the PATCH to do.
// Identities to attach that are there without podid's doing become Found.
// certain says that what Azure shows is on the machines; where it is not, what
// is to be attached or detached is sent again, and whose it is stays as it was.
func (r Record) Intend(present map[string]bool, certain bool, attach, detach []string) (next Record, add, remove []string) {
	next = r.clone()
	for _, id := range attach {
		switch {
		case !present[id], !certain && r[id].ours():
			next[id] = Attaching
			add = append(add, id)
		case !certain:
			add = append(add, id) // nothing is written down: see Done
		case r[id].ours():
			next[id] = Attached
		default:
			next[id] = Found
		}
	}
	for _, id := range detach {
		if !present[id] && certain {
			delete(next, id)
			continue
		}
		next[id] = Detaching
		remove = append(remove, id)
	}
	return next, add, remove
}

// Done returns what the record is to say after a PATCH that changed ids. One of
// which it says nothing was there before, and has been sent again.
func (r Record) Done(ids []string) Record {
	next := r.clone()
	for _, id := range ids {
		switch r[id] {
		case Attaching, Attached:
			next[id] = Attached
		case Detaching:
			delete(next, id)
		default:
			next[id] = Found
		}
	}
	return next
}

// Ours are the identities that podid may detach, in order.
func (r Record) Ours() []string {
	var ids []string
	for id, o := range r {
		if o.ours() {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Without returns the record without ids.
func (r Record) Without(ids []string) Record {
	next := r.clone()
	for _, id := range ids {
		delete(next, id)
	}
	return next
}

// Among returns the record without those that should be there and are not shown.
func (r Record) Among(shown map[string]bool) Record {
	next := r.clone()
	maps.DeleteFunc(next, func(id string, o Ownership) bool { return o.there() && !shown[id] })
	return next
}

func (r Record) clone() Record {
	next := make(Record, len(r))
	maps.Copy(next, r)
	return next
}

// Undo returns the record with ids as they were before.
func (r Record) Undo(before Record, ids []string) Record {
	next := r.clone()
	for _, id := range ids {
		if o, ok := before[id]; ok {
			next[id] = o
		} else {
			delete(next, id)
		}
	}
	return next
}
