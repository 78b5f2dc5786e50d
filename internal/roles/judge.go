package roles

import (
	"cmp"
	"slices"
	"strings"
)

// Grant is a role that was assigned, with what it allows.
type Grant struct {
	// Scope is where it was assigned.
	Scope string
	// Role is the name of the role.
	Role        string
	Permissions []Permission
	// Condition restricts it to something that cannot be told here: a grant with one
	// does not count.
	Condition string
}

// Verdict says what of a need is there.
type Verdict struct {
	// Lacking are the actions that no grant allows.
	Lacking []string
	// By are the grants that allow the others, the nearest to the scope first.
	By []Grant
	// Conditional are those that would allow some of Lacking if they had no condition.
	Conditional []Grant
}

// Judge looks for the actions of a need among what was assigned. Names of roles
// do not count: what they allow does.
func Judge(n Need, grants []Grant) Verdict {
	var near []Grant
	for _, g := range grants {
		if Covers(g.Scope, n.Scope) {
			near = append(near, g)
		}
	}
	slices.SortStableFunc(near, func(a, b Grant) int {
		return cmp.Or(cmp.Compare(depth(b.Scope), depth(a.Scope)), cmp.Compare(a.Role, b.Role))
	})
	var v Verdict
	used := make([]bool, len(near))
	for _, action := range n.Job.Actions() {
		i := slices.IndexFunc(near, func(g Grant) bool { return g.Condition == "" && g.allows(action) })
		if i < 0 {
			v.Lacking = append(v.Lacking, action)
			continue
		}
		used[i] = true
	}
	for i, g := range near {
		switch {
		case used[i]:
			v.By = append(v.By, g)
		case g.Condition != "" && slices.ContainsFunc(v.Lacking, g.allows):
			v.Conditional = append(v.Conditional, g)
		}
	}
	return v
}

func (g Grant) allows(action string) bool {
	return slices.ContainsFunc(g.Permissions, func(p Permission) bool { return p.Allows(action) })
}

// depth is how far a scope is from the top.
func depth(scope string) int {
	scope = strings.ToLower(strings.Trim(scope, "/"))
	if !strings.HasPrefix(scope, "subscriptions/") {
		return 0
	}
	return strings.Count(scope, "/")
}
