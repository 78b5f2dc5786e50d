package azemu

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// rolePath is what a request to Microsoft.Authorization is about.
type rolePath struct {
	scope string // "/" for all of the tenant
	kind  string // in lower case
	name  string // empty for a list
}

// parseRolePath reads SCOPE/providers/Microsoft.Authorization/KIND[/NAME].
func parseRolePath(path string) (rolePath, bool) {
	const authorization = "/providers/microsoft.authorization/"
	i := strings.LastIndex(strings.ToLower(path), authorization)
	if i < 0 {
		return rolePath{}, false
	}
	kind, name, _ := strings.Cut(path[i+len(authorization):], "/")
	p := rolePath{scope: path[:i], kind: strings.ToLower(kind), name: name}
	if p.scope == "" {
		p.scope = "/"
	}
	return p, (p.kind == "roleassignments" || p.kind == "roledefinitions") && !strings.Contains(name, "/")
}

// roleRoute finds what a request to Microsoft.Authorization asks for.
func (e *Emulator) roleRoute(c *armCall) (string, http.HandlerFunc) {
	what := c.r.Method + " " + c.role.kind
	if c.role.name == "" {
		what += "/list"
	}
	known, ok := map[string]struct {
		endpoint string
		handle   armHandler
	}{
		"GET roleassignments":      {EndpointRoleAssignmentGet, e.getRoleAssignment},
		"GET roleassignments/list": {EndpointRoleAssignmentList, e.listRoleAssignments},
		"PUT roleassignments":      {EndpointRoleAssignmentPut, e.putRoleAssignment},
		"DELETE roleassignments":   {EndpointRoleAssignmentDelete, e.deleteRoleAssignment},
		"GET roledefinitions":      {EndpointRoleDefinitionGet, e.getRoleDefinition},
		"GET roledefinitions/list": {EndpointRoleDefinitionList, e.listRoleDefinitions},
		"PUT roledefinitions":      {EndpointRoleDefinitionPut, e.putRoleDefinition},
	}[what]
	if !ok {
		return EndpointARMOther, e.arm(EndpointARMOther, c, e.unknownPath)
	}
	return known.endpoint, e.arm(known.endpoint, c, known.handle)
}

// filter is a $filter of Microsoft.Authorization: clauses with and between them.
type filter map[string]string

var clause = regexp.MustCompile(`^(\w+)(?:\(\s*(?:'([^']*)')?\s*\)|\s+eq\s+'([^']*)')$`)

// parseFilter reads a $filter of the clauses in known.
func parseFilter(query url.Values, known ...string) (filter, error) {
	f, raw := filter{}, query.Get("$filter")
	if raw == "" {
		return f, nil
	}
	for part := range strings.SplitSeq(raw, " and ") {
		m := clause.FindStringSubmatch(strings.TrimSpace(part))
		if m == nil || !containsFold(known, m[1]) {
			return nil, invalid("UnsupportedQuery", "The filter '%s' is not supported. Supported filters are: %s.", raw, strings.Join(known, ", "))
		}
		f[strings.ToLower(m[1])] = m[2] + m[3]
	}
	return f, nil
}

func containsFold(list []string, s string) bool {
	for _, l := range list {
		if strings.EqualFold(l, s) {
			return true
		}
	}
	return false
}

// unauthorized is the refusal of a caller without a permission.
func unauthorized(caller, action, scope string) *armError {
	return &armError{http.StatusForbidden, "AuthorizationFailed", fmt.Sprintf(
		"The client '%[1]s' with object id '%[1]s' does not have authorization to perform action '%[2]s' over scope '%[3]s' or the scope is invalid. If access was recently granted, please refresh your credentials.",
		caller, action, scope)}
}
