package azemu

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/podid-io/podid/internal/roles"
)

// RoleAssignment gives a principal a role on a scope and all below it.
type RoleAssignment struct {
	// Name is a GUID. The default is derived from the other fields.
	Name string `json:"name,omitempty"`
	// Scope is an ARM id: of a subscription, a resource group, a resource or a
	// management group.
	Scope string `json:"scope"`
	// PrincipalID is the object id of who has the role.
	PrincipalID string `json:"principalId"`
	// Role is the name of a role, or the GUID of its definition.
	Role string `json:"role"`
	// PrincipalType is ServicePrincipal, User or Group. The default is none.
	PrincipalType string `json:"principalType,omitempty"`
	// Condition is kept and shown. One that has it counts for nothing here.
	Condition string `json:"condition,omitempty"`
	// DelegatedManagedIdentityResourceID is kept and shown.
	DelegatedManagedIdentityResourceID string `json:"delegatedManagedIdentityResourceId,omitempty"`
}

// key is the id of the assignment in lower case.
func (a RoleAssignment) key() string { return strings.ToLower(a.id()) }

func (a RoleAssignment) id() string {
	return strings.TrimSuffix(a.Scope, "/") + "/providers/Microsoft.Authorization/roleAssignments/" + a.Name
}

// RoleDefinition is a custom role. Those of Azure's own that have to do with
// machines and identities are there always.
type RoleDefinition struct {
	// Name is a GUID. The default is derived from RoleName.
	Name     string `json:"name,omitempty"`
	RoleName string `json:"roleName"`
	// AssignableScopes are where the role can be seen and assigned.
	AssignableScopes []string           `json:"assignableScopes"`
	Permissions      []roles.Permission `json:"permissions"`
	Description      string             `json:"description,omitempty"`
}

// Group is a group of Entra ID.
type Group struct {
	ObjectID string `json:"objectId"`
	// Members are the object ids of its members.
	Members []string `json:"members"`
}

// builtIn reports whether it is one of Azure's own: no custom role can be
// assigned everywhere.
func (d RoleDefinition) builtIn() bool { return slices.Contains(d.AssignableScopes, "/") }

func (c *cloud) applyRoles(s State) error {
	for _, g := range s.Groups {
		if g.ObjectID == "" {
			return fmt.Errorf("role group of %d members needs an objectId", len(g.Members))
		}
		c.groups[strings.ToLower(g.ObjectID)] = g
	}
	for _, d := range s.RoleDefinitions {
		if d.RoleName == "" || len(d.AssignableScopes) == 0 || d.builtIn() {
			return fmt.Errorf("role definition %q needs a roleName and assignableScopes other than /", cmp.Or(d.RoleName, d.Name))
		}
		d.Name = strings.ToLower(cmp.Or(d.Name, guid("roledefinition", d.RoleName)))
		c.roleDefinitions[d.Name] = d
	}
	for _, a := range s.RoleAssignments {
		d, ok := c.roleNamed(a.Role)
		if !ok || a.PrincipalID == "" || !strings.HasPrefix(a.Scope, "/") {
			return fmt.Errorf("role assignment of %q to %q on %q: want a role that there is, the object id of a principal and a scope", a.Role, a.PrincipalID, a.Scope)
		}
		a.Role = d.Name
		a.Name = cmp.Or(a.Name, guid("roleassignment", a.Scope+a.PrincipalID+a.Role))
		c.roleAssignments[a.key()] = a
	}
	return nil
}

// roleNamed finds a role by its name or by the GUID of its definition.
func (c *cloud) roleNamed(name string) (RoleDefinition, bool) {
	for d := range c.roles() {
		if strings.EqualFold(d.Name, name) || strings.EqualFold(d.RoleName, name) {
			return d, true
		}
	}
	return RoleDefinition{}, false
}

// roles yields the roles of Azure's own, then the custom ones, by GUID.
func (c *cloud) roles() func(func(RoleDefinition) bool) {
	return func(yield func(RoleDefinition) bool) {
		for _, d := range builtInRoles() {
			if !yield(d) {
				return
			}
		}
		for _, name := range slices.Sorted(maps.Keys(c.roleDefinitions)) {
			if !yield(c.roleDefinitions[name]) {
				return
			}
		}
	}
}

// assignmentsSorted are all role assignments, by id.
func (c *cloud) assignmentsSorted() []RoleAssignment {
	var out []RoleAssignment
	for _, key := range slices.Sorted(maps.Keys(c.roleAssignments)) {
		out = append(out, c.roleAssignments[key])
	}
	return out
}

// permits reports whether a principal may do something on a scope.
func (c *cloud) permits(principal, action, scope string) bool {
	for _, a := range c.roleAssignments {
		if a.Condition != "" || !c.isOrIn(principal, a.PrincipalID) || !roles.Covers(a.Scope, scope) {
			continue
		}
		d, ok := c.roleNamed(a.Role)
		if ok && slices.ContainsFunc(d.Permissions, func(p roles.Permission) bool { return p.Allows(action) }) {
			return true
		}
	}
	return false
}

// isOrIn reports whether a principal is another one, or is in that group.
func (c *cloud) isOrIn(principal, other string) bool {
	return strings.EqualFold(principal, other) || containsFold(c.groups[strings.ToLower(other)].Members, principal)
}

// knows reports whether Entra ID knows an object id: that of an app, an identity or
// a machine, of a group, or of one who was given a role or is in a group, as people.
func (c *cloud) knows(id string) bool {
	for _, g := range c.groups {
		if c.isOrIn(id, g.ObjectID) {
			return true
		}
	}
	for _, a := range c.roleAssignments {
		if strings.EqualFold(a.PrincipalID, id) {
			return true
		}
	}
	return c.servicePrincipal(id)
}

// servicePrincipal reports whether there is an app, an identity or a machine
// with this object id.
func (c *cloud) servicePrincipal(id string) bool {
	for _, i := range c.identities {
		if strings.EqualFold(i.PrincipalID, id) {
			return true
		}
	}
	for _, a := range c.apps {
		if strings.EqualFold(a.ObjectID, id) {
			return true
		}
	}
	for _, s := range c.scopes {
		if s.goal.system && strings.EqualFold(s.system(c.tenant).objectID, id) {
			return true
		}
	}
	return false
}

func isGUID(s string) bool { return len(s) == 36 && uuid.Validate(s) == nil }
