package azemu

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// identityChanges is how many user-assigned identities one PATCH may name.
const identityChanges = 150

// assignment is the identities of a VM or scale set. It is never changed, only
// replaced.
type assignment struct {
	system bool
	user   map[string]string // key to id as it was written
}

// identityType is the property identity.type, taken apart.
type identityType struct{ system, user bool }

// parseIdentityType reads identity.type, whose spaces and case do not count.
func parseIdentityType(s string) (identityType, bool) {
	switch strings.ToLower(strings.ReplaceAll(s, " ", "")) {
	case "none":
		return identityType{}, true
	case "systemassigned":
		return identityType{system: true}, true
	case "userassigned":
		return identityType{user: true}, true
	case "systemassigned,userassigned":
		return identityType{system: true, user: true}, true
	default:
		return identityType{}, false
	}
}

func (a assignment) kind() identityType {
	return identityType{system: a.system, user: len(a.user) > 0}
}

// String is identity.type as Azure writes it.
func (t identityType) String() string {
	switch {
	case t.system && t.user:
		return "SystemAssigned, UserAssigned"
	case t.system:
		return "SystemAssigned"
	case t.user:
		return "UserAssigned"
	default:
		return "None"
	}
}

// ids are the user-assigned identities, sorted.
func (a assignment) ids() []string { return slices.Sorted(maps.Values(a.user)) }

func (a assignment) state() *Assigned {
	return &Assigned{Type: a.kind().String(), UserAssigned: a.ids()}
}

// identityPatch is the part of a PATCH body that concerns identities.
type identityPatch struct {
	Type         *string                    `json:"type"`
	UserAssigned map[string]json.RawMessage `json:"userAssignedIdentities"`
}

// patched is a after the merge patch p: the type is replaced when it is given,
// identities with an object are added, with null removed, the others stay. A
// type without UserAssigned removes them all. It does not ask whether the
// identities exist. The error is an *armError.
func (a assignment) patched(p identityPatch) (next assignment, added []armID, err error) {
	if n := len(p.UserAssigned); n > identityChanges {
		return a, nil, identityOperation(
			fmt.Sprintf("User Assigned Identities Number '%d' Assign exceed limit '%d' in one request.", n, identityChanges))
	}
	kind := a.kind()
	if p.Type != nil {
		var ok bool
		if kind, ok = parseIdentityType(*p.Type); !ok {
			return a, nil, invalid("InvalidParameter", "The value of parameter identity.type is invalid: '%s'.", *p.Type)
		}
	}
	next = assignment{system: kind.system, user: maps.Clone(a.user)}
	if next.user == nil || !kind.user {
		next.user = map[string]string{}
	}
	named := map[string]bool{}
	for _, raw := range slices.Sorted(maps.Keys(p.UserAssigned)) {
		id, ok := parseResource(raw, kindIdentity)
		if !ok || named[id.key()] {
			return a, nil, invalid("InvalidParameter",
				"Id '%s' is not a valid reference to a Microsoft.ManagedIdentity identity, or is given twice.", raw)
		}
		named[id.key()] = true
		switch value := bytes.TrimSpace(p.UserAssigned[raw]); {
		case bytes.Equal(value, []byte("null")):
			delete(next.user, id.key())
		case bytes.HasPrefix(value, []byte("{")):
			next.user[id.key()] = id.String()
			added = append(added, id)
		default:
			return a, nil, invalid("InvalidIdentityValues",
				"Invalid value for the identity '%s': the values of userAssignedIdentities are empty objects or null.", raw)
		}
	}
	if next.kind() != kind && p.Type != nil || !kind.user && len(added) > 0 {
		return a, nil, invalid("InvalidIdentityValues",
			"The identity type '%s' does not go with %d user assigned identities.", kind, len(next.user))
	}
	return next, added, nil
}

// identityOperation is the error in which compute wraps what the identity
// service said.
func identityOperation(message string) *armError {
	const status = "BadRequest"
	inner, _ := json.Marshal(armErrorBody{Error: armErrorDetail{Code: status, Message: message}}) // two strings cannot fail
	return invalid("FailedIdentityOperation",
		"Failed to perform resource identity operation. Status: '%s'. Response: '%s'.", status, inner)
}

func invalid(code, format string, args ...any) *armError {
	return &armError{http.StatusBadRequest, code, fmt.Sprintf(format, args...)}
}
