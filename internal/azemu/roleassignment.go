package azemu

import (
	"net/http"
	"strings"

	"github.com/podid-io/podid/internal/roles"
)

// roleAssignmentBody is a role assignment as Resource Manager shows it.
type roleAssignmentBody struct {
	ID         string                `json:"id"`
	Name       string                `json:"name"`
	Type       string                `json:"type"`
	Properties roleAssignmentDetails `json:"properties"`
}

type roleAssignmentDetails struct {
	RoleDefinitionID string  `json:"roleDefinitionId"`
	PrincipalID      string  `json:"principalId"`
	PrincipalType    string  `json:"principalType,omitempty"`
	Scope            string  `json:"scope"`
	Condition        *string `json:"condition"`
	Delegated        *string `json:"delegatedManagedIdentityResourceId"`
}

func (a RoleAssignment) body() roleAssignmentBody {
	definition := "/providers/Microsoft.Authorization/roleDefinitions/" + a.Role
	if p := strings.Split(a.Scope, "/"); len(p) > 2 && strings.EqualFold(p[1], "subscriptions") {
		definition = "/subscriptions/" + p[2] + definition
	}
	b := roleAssignmentBody{ID: a.id(), Name: a.Name, Type: "Microsoft.Authorization/roleAssignments", Properties: roleAssignmentDetails{
		RoleDefinitionID: definition, PrincipalID: a.PrincipalID, PrincipalType: a.PrincipalType, Scope: a.Scope,
	}}
	if a.Condition != "" {
		b.Properties.Condition = &a.Condition
	}
	if a.DelegatedManagedIdentityResourceID != "" {
		b.Properties.Delegated = &a.DelegatedManagedIdentityResourceID
	}
	return b
}

func (e *Emulator) getRoleAssignment(c *armCall) (armReply, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	a, ok := e.cloud.roleAssignments[RoleAssignment{Scope: c.role.scope, Name: c.role.name}.key()]
	if !ok {
		return armReply{}, &armError{http.StatusNotFound, "RoleAssignmentNotFound", "The role assignment '" + c.role.name + "' is not found."}
	}
	return armReply{status: http.StatusOK, body: a.body()}, nil
}

// listRoleAssignments lists those at the scope, above it, and, without atScope(),
// below it.
func (e *Emulator) listRoleAssignments(c *armCall) (armReply, error) {
	f, err := parseFilter(c.r.URL.Query(), "atScope", "principalId", "assignedTo")
	if err != nil {
		return armReply{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	who, assigned := f["assignedto"]
	if assigned && !e.cloud.knows(who) { // its groups have to be looked up
		return armReply{}, noPrincipal(who, e.cloud.tenant)
	}
	list := []roleAssignmentBody{}
	_, atScope := f["atscope"]
	for _, a := range e.cloud.assignmentsSorted() {
		if !roles.Covers(a.Scope, c.role.scope) && (atScope || !roles.Covers(c.role.scope, a.Scope)) {
			continue
		}
		if !f.admits("principalid", a.PrincipalID) || assigned && !e.cloud.isOrIn(who, a.PrincipalID) {
			continue
		}
		list = append(list, a.body())
	}
	return armReply{status: http.StatusOK, body: map[string]any{"value": list}}, nil
}

// admits reports whether the filter has no clause of this name, or value fits it.
func (f filter) admits(name, value string) bool {
	want, ok := f[name]
	return !ok || strings.EqualFold(want, value)
}

func (e *Emulator) putRoleAssignment(c *armCall) (armReply, error) {
	var body struct {
		Properties roleAssignmentDetails `json:"properties"`
	}
	if err := readBody(c.r, &body); err != nil {
		return armReply{}, err
	}
	if !isGUID(c.role.name) {
		return armReply{}, invalid("InvalidRoleAssignmentId", "The role assignment ID '%s' is not valid. The role assignment ID must be a GUID.", c.role.name)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	next, err := e.cloud.newRoleAssignment(c.role, body.Properties)
	if err != nil {
		return armReply{}, err
	}
	for key, a := range e.cloud.roleAssignments {
		same := strings.EqualFold(a.Scope, next.Scope) && strings.EqualFold(a.PrincipalID, next.PrincipalID) && a.Role == next.Role
		switch {
		case key == next.key() && same:
			return armReply{status: http.StatusOK, body: a.body()}, nil
		case key == next.key():
			return armReply{}, &armError{http.StatusConflict, "RoleAssignmentUpdateNotPermitted", "Tenant ID, application ID, principal ID, and scope are not allowed to be updated."}
		case same:
			return armReply{}, &armError{http.StatusConflict, "RoleAssignmentExists", "The role assignment already exists. The ID of the existing role assignment is " + strings.ReplaceAll(a.Name, "-", "") + "."}
		}
	}
	e.cloud.roleAssignments[next.key()] = next
	return armReply{status: http.StatusCreated, body: next.body()}, nil
}

// newRoleAssignment checks what a PUT asks for.
func (c *cloud) newRoleAssignment(p rolePath, d roleAssignmentDetails) (RoleAssignment, error) {
	role := d.RoleDefinitionID[strings.LastIndex(d.RoleDefinitionID, "/")+1:]
	definition, ok := c.roleNamed(role)
	if !ok || !isGUID(role) {
		return RoleAssignment{}, invalid("RoleDefinitionDoesNotExist", "The specified role definition with ID '%s' does not exist.", role)
	}
	if id, ok := parseResource(p.scope, kindIdentity); ok {
		if _, ok := c.identities[id.key()]; !ok {
			return RoleAssignment{}, notFound(id)
		}
	}
	known := c.servicePrincipal(d.PrincipalID)
	switch {
	case d.PrincipalID == "":
		return RoleAssignment{}, invalid("InvalidCreateRoleAssignmentRequest", "The request to create role assignment '%s' is not valid. Principal ID is missing.", p.name)
	case !known && d.PrincipalType == "": // else nobody looks it up
		return RoleAssignment{}, noPrincipal(d.PrincipalID, c.tenant)
	case known && d.PrincipalType != "" && d.PrincipalType != "ServicePrincipal":
		return RoleAssignment{}, invalid("UnmatchedPrincipalType",
			"The PrincipalId '%s' has type 'ServicePrincipal' , which is different from specified PrincipalType '%s'.", d.PrincipalID, d.PrincipalType)
	case known:
		d.PrincipalType = "ServicePrincipal"
	}
	a := RoleAssignment{Name: p.name, Scope: p.scope, PrincipalID: d.PrincipalID, Role: definition.Name, PrincipalType: d.PrincipalType}
	if d.Condition != nil {
		a.Condition = *d.Condition
	}
	if d.Delegated != nil {
		a.DelegatedManagedIdentityResourceID = *d.Delegated
	}
	return a, nil
}

func noPrincipal(id, tenant string) *armError {
	return invalid("PrincipalNotFound",
		"Principal %s does not exist in the directory %s. Check that you have the correct principal ID. If you are creating this principal and then immediately assigning a role, this error might be related to a replication delay. In this case, set the role assignment principalType property to a value, such as ServicePrincipal, User, or Group. See https://aka.ms/docs-principaltype",
		strings.ReplaceAll(id, "-", ""), tenant)
}

func (e *Emulator) deleteRoleAssignment(c *armCall) (armReply, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := RoleAssignment{Scope: c.role.scope, Name: c.role.name}.key()
	a, ok := e.cloud.roleAssignments[key]
	if !ok {
		return armReply{status: http.StatusNoContent}, nil
	}
	delete(e.cloud.roleAssignments, key)
	return armReply{status: http.StatusOK, body: a.body()}, nil
}
