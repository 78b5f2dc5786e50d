package roles

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/podid-io/podid/internal/roles"
)

// row is a role that mic needs on a scope.
type row struct {
	Role        string   `json:"role"`
	Scope       string   `json:"scope"`
	PrincipalID string   `json:"principalId"`
	Why         string   `json:"why"`
	State       state    `json:"state"`
	From        []source `json:"from,omitempty"`
	// Lacking are the actions that are missing.
	Lacking []string `json:"lacking,omitempty"`
	// Conditions are those for which what is there does not count.
	Conditions []string `json:"conditions,omitempty"`
	// Command makes the assignment.
	Command string `json:"command,omitempty"`
	Error   string `json:"error,omitempty"`

	need       roles.Need
	definition string      // GUID of the role; empty for a custom one until it is there
	custom     *customRole // that has to be made or changed first; nil for none
	delegated  string
	blind      bool // it is not known, and made nevertheless: that is the same twice
}

// source is where mic has from what it has.
type source struct {
	Role  string `json:"role"`
	Scope string `json:"scope"`
}

// newRow judges a need of a principal by what was seen in its subscription.
func newRow(n roles.Need, p principal, found *seen, o *options) *row {
	x := &row{Scope: n.Scope, PrincipalID: p.ID, Why: n.Why, State: presentState, need: n, delegated: o.delegated}
	x.Role, x.definition = n.Job.BuiltIn()
	v := roles.Judge(n, found.grants)
	x.Lacking = v.Lacking
	for _, g := range v.By {
		x.From = append(x.From, source{Role: g.Role, Scope: g.Scope})
		if !strings.EqualFold(strings.Trim(g.Scope, "/"), strings.Trim(n.Scope, "/")) {
			x.State = inheritedState
		}
	}
	for _, g := range v.Conditional {
		x.Conditions = append(x.Conditions, g.Role+" is there with the condition "+g.Condition)
	}
	switch err := found.errs[n.Scope]; {
	case len(v.Lacking) == 0:
	case err != nil:
		x.State, x.Error = unknownState, err.Error()
	case n.Unusual:
		x.State = unusualState
		x.Error = "nodes are in several resource groups; --node-resource-group " + n.Scope[strings.LastIndex(n.Scope, "/")+1:] + " if mic is to change machines there"
	case o.blind():
		x.State, x.Error, x.blind = unknownState, "--principal-tenant-id has it looked up", true
	default:
		x.State = missingState
	}
	return x
}

// toMake reports whether it is for --apply, or a command, to make it.
func (x *row) toMake() bool { return x.State == missingState || x.State == unknownState && x.blind }

// name is that of the assignment.
func (x *row) name() string { return assignmentName(x.Scope, x.PrincipalID, x.definition) }

// assignmentName is always the same for the same, so that what is made twice is made
// once, and what was made in this way can be told.
func assignmentName(scope, principal, definition string) string {
	key := strings.ToLower(scope + "|" + principal + "|" + definition)
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("podid:"+key)).String()
}

// definitionID is the ARM id of the role.
func (x *row) definitionID() string {
	return fmt.Sprintf("/subscriptions/%s/providers/Microsoft.Authorization/roleDefinitions/%s", x.need.Subscription(), x.definition)
}

// surplus is a role that mic has and does not need.
type surplus struct {
	Role    string `json:"role"`
	Scope   string `json:"scope"`
	Command string `json:"command"` // deletes it
}

// surplusOf are the assignments that do nothing for any need. One above a need may be
// what the need is met by, and one below it may be needed again: whoever changes
// --identity-scope is not told to delete what mic works with.
func surplusOf(has []made, needs []roles.Need) []surplus {
	var out []surplus
	for _, m := range has {
		if !slices.ContainsFunc(needs, m.serves) {
			out = append(out, surplus{Role: m.role, Scope: m.scope, Command: deletion(m.id)})
		}
	}
	return out
}

// serves reports whether it is for the job of a need, on its scope or above or below.
func (m made) serves(n roles.Need) bool {
	_, id := n.Job.BuiltIn()
	return (strings.EqualFold(m.definition, id) || strings.EqualFold(m.role, n.Job.Custom(n.Subscription()))) &&
		(roles.Covers(m.scope, n.Scope) || roles.Covers(n.Scope, m.scope))
}
