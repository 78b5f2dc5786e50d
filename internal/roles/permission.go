// Package roles decides which roles in Azure mic needs for a cluster, and
// whether what was assigned gives it them. It asks nobody.
package roles

import (
	"slices"
	"strings"
)

// Permission is what a role allows on its scope: actions, with wildcards, less
// those of NotActions.
type Permission struct {
	Actions    []string `json:"actions"`
	NotActions []string `json:"notActions,omitempty"`
}

// Allows reports whether p allows an action, such as
// Microsoft.Compute/virtualMachines/read.
func (p Permission) Allows(action string) bool {
	allows := func(pattern string) bool { return matches(pattern, action) }
	return slices.ContainsFunc(p.Actions, allows) && !slices.ContainsFunc(p.NotActions, allows)
}

// matches reports whether an action fits a pattern, without regard to case. A
// star stands for anything, slashes too. Between two slashes it stands for nothing
// as well: Managed Identity Operator has userAssignedIdentities/*/assign/action,
// and so may assign userAssignedIdentities.
func matches(pattern, action string) bool {
	pattern, action = strings.ToLower(pattern), strings.ToLower(action)
	return fits(strings.Split(pattern, "*"), action) ||
		strings.Contains(pattern, "/*/") && fits(strings.Split(strings.ReplaceAll(pattern, "/*/", "/"), "*"), action)
}

// fits reports whether the parts follow each other in s, with anything between
// them: the first at its beginning, the last at its end.
func fits(parts []string, s string) bool {
	s, ok := strings.CutPrefix(s, parts[0])
	if !ok || len(parts) == 1 {
		return ok && s == ""
	}
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		if _, s, ok = strings.Cut(s, part); !ok {
			return false
		}
	}
	return strings.HasSuffix(s, parts[last])
}

// Covers reports whether what is assigned on a scope holds on another: on itself
// and on all below it. Of a management group nobody can tell by its name what is
// below it: it is taken to cover everything, since Azure lists its assignments
// only for subscriptions in it.
func Covers(assigned, scope string) bool {
	assigned = strings.ToLower(strings.Trim(assigned, "/"))
	scope = strings.ToLower(strings.Trim(scope, "/"))
	return assigned == "" || assigned == scope || strings.HasPrefix(scope, assigned+"/") ||
		strings.HasPrefix(assigned, "providers/microsoft.management/managementgroups/")
}
