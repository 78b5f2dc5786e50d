package azemu

import (
	"net/http"
	"slices"
	"strings"

	"github.com/podid-io/podid/internal/roles"
)

// roleDefinitionBody is a role as Resource Manager shows it.
type roleDefinitionBody struct {
	ID         string                `json:"id"`
	Name       string                `json:"name"`
	Type       string                `json:"type"`
	Properties roleDefinitionDetails `json:"properties"`
}

type roleDefinitionDetails struct {
	RoleName         string             `json:"roleName"`
	Type             string             `json:"type"`
	Description      string             `json:"description"`
	AssignableScopes []string           `json:"assignableScopes"`
	Permissions      []roles.Permission `json:"permissions"`
}

// body shows a role as it is seen from a scope.
func (d RoleDefinition) body(scope string) roleDefinitionBody {
	id := "/providers/Microsoft.Authorization/roleDefinitions/" + d.Name
	if p := strings.Split(scope, "/"); len(p) > 2 && strings.EqualFold(p[1], "subscriptions") {
		id = "/subscriptions/" + p[2] + id
	}
	kind := "CustomRole"
	if d.builtIn() {
		kind = "BuiltInRole"
	}
	return roleDefinitionBody{ID: id, Name: d.Name, Type: "Microsoft.Authorization/roleDefinitions", Properties: roleDefinitionDetails{
		RoleName: d.RoleName, Type: kind, Description: d.Description, AssignableScopes: d.AssignableScopes, Permissions: d.Permissions,
	}}
}

// seenFrom reports whether a role can be assigned on a scope, or below it.
func (d RoleDefinition) seenFrom(scope string) bool {
	return slices.ContainsFunc(d.AssignableScopes, func(s string) bool { return roles.Covers(s, scope) || roles.Covers(scope, s) })
}

func (e *Emulator) getRoleDefinition(c *armCall) (armReply, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for d := range e.cloud.roles() {
		if strings.EqualFold(d.Name, c.role.name) && d.seenFrom(c.role.scope) {
			return armReply{status: http.StatusOK, body: d.body(c.role.scope)}, nil
		}
	}
	return armReply{}, noRoleDefinition(c.role.name)
}

func noRoleDefinition(name string) *armError {
	return &armError{http.StatusNotFound, "RoleDefinitionDoesNotExist", "The specified role definition with ID '" + name + "' does not exist."}
}

func (e *Emulator) listRoleDefinitions(c *armCall) (armReply, error) {
	f, err := parseFilter(c.r.URL.Query(), "roleName", "type", "atScopeAndBelow")
	if err != nil {
		return armReply{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	list := []roleDefinitionBody{}
	for d := range e.cloud.roles() {
		b := d.body(c.role.scope)
		if d.seenFrom(c.role.scope) && f.admits("rolename", d.RoleName) && f.admits("type", b.Properties.Type) {
			list = append(list, b)
		}
	}
	return armReply{status: http.StatusOK, body: map[string]any{"value": list}}, nil
}

// putRoleDefinition makes or replaces a custom role.
func (e *Emulator) putRoleDefinition(c *armCall) (armReply, error) {
	var body struct {
		Properties roleDefinitionDetails `json:"properties"`
	}
	if err := readBody(c.r, &body); err != nil {
		return armReply{}, err
	}
	p := body.Properties
	switch {
	case !isGUID(c.role.name):
		return armReply{}, invalid("InvalidRoleDefinitionId", "The role definition ID '%s' is not valid. The role definition ID must be a GUID.", c.role.name)
	case p.RoleName == "" || len(p.AssignableScopes) == 0 || len(p.Permissions) == 0:
		return armReply{}, invalid("InvalidRoleDefinition", "The role definition needs a roleName, assignableScopes and permissions.")
	case slices.Contains(p.AssignableScopes, "/"):
		return armReply{}, invalid("LinkedInvalidPropertyId", "Custom roles cannot have the assignable scope '/'.")
	}
	next := RoleDefinition{
		Name: strings.ToLower(c.role.name), RoleName: p.RoleName, AssignableScopes: p.AssignableScopes,
		Permissions: p.Permissions, Description: p.Description,
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if same, ok := e.cloud.roleNamed(p.RoleName); ok && same.Name != next.Name {
		return armReply{}, &armError{http.StatusConflict, "RoleDefinitionWithSameNameExists", "A custom role with the same name already exists in this directory. Use a different name."}
	}
	e.cloud.roleDefinitions[next.Name] = next
	return armReply{status: http.StatusCreated, body: next.body(c.role.scope)}, nil
}
