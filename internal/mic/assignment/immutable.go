package assignment

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/compute"
)

// keepImmutable takes those identities off what is to be detached that never are,
// and off what is podid's; and those of which Azure does not show whether they are
// among these. They are withheld, and tried again like one that is refused.
func (r *Reconciler) keepImmutable(ctx context.Context, scope assign.Scope, present compute.State, record assign.Record, detach []string) (assign.Record, []string, []string) {
	immutable := r.config.Immutable()
	if len(immutable) == 0 {
		return record, detach, nil
	}
	record = maps.Clone(record)
	var rest, withheld []string
	for _, id := range detach {
		switch never, known := isImmutable(immutable, present, id); {
		case !known && present.User[id]:
			withheld = append(withheld, id)
			r.config.Log.WarnContext(ctx, "an identity is not detached: Azure does not show its client id, and it may be one that never is", "scope", scope.ID(), "identity", id)
		case never:
			record[id] = assign.Found
		default:
			rest = append(rest, id)
		}
	}
	return record, rest, withheld
}

// isImmutable reports whether an identity is one that is never detached, and whether
// Azure shows that.
func isImmutable(immutable []string, present compute.State, id string) (is, known bool) {
	client := present.ClientIDs[id]
	return client != "" && slices.ContainsFunc(immutable, func(c string) bool { return strings.EqualFold(c, client) }), client != ""
}

// staying are those that are there and are never detached, or may be such.
func (r *Reconciler) staying(present compute.State) []string {
	immutable := r.config.Immutable()
	if len(immutable) == 0 {
		return nil
	}
	var ids []string
	for id := range present.User {
		if never, known := isImmutable(immutable, present, id); never || !known {
			ids = append(ids, id)
		}
	}
	return ids
}

// regained is o with those on record as attached that were to go, since Azure refuses
// all as long as they are there, and were withheld: they stay, and are kept from
// nobody who needs them.
func (s *state) regained(o outcome) outcome {
	back := slices.DeleteFunc(slices.Clone(o.withheld), func(id string) bool {
		return !s.machine.IsLost(id) || o.record[id] != assign.Detaching
	})
	if len(back) > 0 {
		o.record = maps.Clone(o.record)
	}
	for _, id := range back {
		o.record[id] = assign.Attached
	}
	return o
}

// errWithheld is why an identity is withheld.
var errWithheld = errors.New("it may be one that is never detached: Azure does not show its client id")

// withhold has identities that were not detached wait.
func (s *state) withhold(ids []string) {
	if len(ids) > 0 {
		s.refusals.Refused(assign.Changes{Detach: ids}.Steps(), ids, errWithheld, time.Now())
	}
}
