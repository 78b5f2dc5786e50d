package azemu

import (
	"net/http"
	"strings"
)

const assignAction = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"

// permitted asks, where roles are enforced, whether the caller has the action of
// the request on what it is about.
func (e *Emulator) permitted(c *armCall) error {
	if !e.config.EnforceRoles {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	action, scope := e.cloud.actionOf(c)
	if action == "" || e.cloud.permits(c.caller, action, scope) {
		return nil
	}
	return unauthorized(c.caller, action, scope)
}

// actionOf is the action that a request needs, and the scope on which; empty for
// what does not exist, which is told to everybody.
func (c *cloud) actionOf(call *armCall) (action, scope string) {
	verb := map[string]string{http.MethodGet: "read", http.MethodPut: "write", http.MethodPatch: "write", http.MethodDelete: "delete"}[call.r.Method]
	switch {
	case call.operation != "":
		op, ok := c.operations[call.operation]
		if !ok {
			return "", ""
		}
		// The operation belongs to a region of the subscription; who may follow it
		// is decided on what it works on.
		return "Microsoft.Compute/locations/operations/read", op.on.String()
	case call.role.kind != "":
		kind := map[string]string{"roleassignments": "roleAssignments", "roledefinitions": "roleDefinitions"}[call.role.kind]
		return "Microsoft.Authorization/" + kind + "/" + verb, call.role.scope
	case call.id.name == "" && call.id.kind != "":
		return call.id.provider + "/" + call.id.kind + "/read", call.id.scope()
	case call.id.kind != "":
		kind := strings.TrimSuffix(call.id.provider+"/"+call.id.kind+"/"+call.id.childKind, "/")
		return kind + "/" + verb, call.id.String()
	default:
		return "", ""
	}
}

// mayAssign asks, where roles are enforced, whether the caller may assign all of
// the identities that a PATCH names to keep or to add. Whether they exist is not
// looked at before.
func (e *Emulator) mayAssign(c *armCall, ids []armID) error {
	if !e.config.EnforceRoles {
		return nil
	}
	var refused []string
	for _, id := range ids {
		if !e.cloud.permits(c.caller, assignAction, id.String()) {
			refused = append(refused, id.String())
		}
	}
	if len(refused) == 0 {
		return nil
	}
	return linkedAuthorizationFailed(c, refused)
}
