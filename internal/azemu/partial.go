package azemu

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// fail has op fail as a fault says. One that says only how long it takes lets it
// succeed.
func (op *operation) fail(f Fault) {
	if f.Status == 0 && f.Code == "" && f.Carried == 0 && !f.Named {
		return
	}
	op.carried = f.Carried
	op.failure = &armErrorDetail{Code: f.code(), Message: f.message()}
	if !f.Named {
		return
	}
	all := append(slices.Clone(op.attach), op.detach...)
	left := all[min(op.carriedOf(len(all)), len(all)):]
	named := identityOperation(fmt.Sprintf("Resource '%s' was not found.", strings.Join(left, ",")))
	op.failure = &armErrorDetail{Code: cmp.Or(f.Code, named.code), Message: cmp.Or(f.Message, named.message)}
}

// failMissing has op fail for the identities that were deleted under way.
func (op *operation) failMissing() {
	slices.Sort(op.missing)
	e := identityOperation(fmt.Sprintf("Resource '%s' was not found.", strings.Join(slices.Compact(op.missing), ",")))
	op.failure, op.carried = &armErrorDetail{Code: e.code, Message: e.message}, 0
}

// carriedOf is how many of n changes one that fails carries out.
func (op *operation) carriedOf(n int) int {
	if op.carried < 0 {
		return n
	}
	return min(op.carried, n)
}

// take has the machines of s know what op, which has ended, has carried out.
func (s *scope) take(op *operation) {
	attach, detach := op.attach, op.detach
	if op.status == succeeded || op.carried < 0 {
		s.seen = s.goal
	} else {
		n := op.carriedOf(len(attach) + len(detach))
		attach, detach = attach[:min(n, len(attach))], detach[:max(0, n-len(attach))]
		user := maps.Clone(s.seen.user)
		if user == nil {
			user = map[string]string{}
		}
		for _, key := range attach {
			user[key] = s.goal.user[key]
		}
		for _, key := range detach {
			delete(user, key)
		}
		s.seen = assignment{system: s.seen.system, user: user}
	}
	orphans := maps.Clone(s.orphans)
	maps.DeleteFunc(orphans, func(key string, _ bool) bool {
		_, wanted := s.goal.user[key]
		_, known := s.seen.user[key]
		return slices.Contains(attach, key) || !wanted && !known
	})
	s.orphans = orphans
}

// visible are the ids of the user-assigned identities that IMDS knows.
func (s *scope) visible() []string {
	user := maps.Clone(s.seen.user)
	maps.DeleteFunc(user, func(key, _ string) bool { return s.orphans[key] })
	return assignment{user: user}.ids()
}
