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
		client := present.ClientIDs[id]
		switch {
		case client == "" && present.User[id]:
			withheld = append(withheld, id)
			r.config.Log.WarnContext(ctx, "an identity is not detached: Azure does not show its client id, and it may be one that never is", "scope", scope.ID(), "identity", id)
		case client != "" && slices.ContainsFunc(immutable, func(c string) bool { return strings.EqualFold(c, client) }):
			record[id] = assign.Found
		default:
			rest = append(rest, id)
		}
	}
	return record, rest, withheld
}

// errWithheld is why an identity is withheld.
var errWithheld = errors.New("it may be one that is never detached: Azure does not show its client id")

// withhold has identities that were not detached wait.
func (s *state) withhold(ids []string) {
	if len(ids) > 0 {
		s.refusals.Refused(assign.Changes{Detach: ids}.Steps(), ids, errWithheld, time.Now())
	}
}
