package roles

import (
	"context"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/podid-io/podid/internal/roles"
)

// customRole is a custom role for a job in a subscription.
type customRole struct {
	Name    string   `json:"name"`
	Scope   string   `json:"scope"`
	Actions []string `json:"actions"`
	// AssignableScopes are those that it has already, and its subscription.
	AssignableScopes []string `json:"assignableScopes"`
	State            state    `json:"state"`
	// Command makes or changes it.
	Command string `json:"command"`
	Error   string `json:"error,omitempty"`

	guid string
}

// customRoles has the rows that are missing name custom roles, and finds those
// that are there already. It looks at those that mic has too: what was widened
// since allows more than it should.
func (az *azure) customRoles(ctx context.Context, r *report) error {
	seen := map[string]*customRole{}
	for _, x := range r.Roles {
		name := x.need.Job.Custom(strings.ToLower(x.need.Subscription()))
		if !x.toMake() && !x.has(name) {
			continue
		}
		c, ok := seen[name]
		if !ok {
			var err error
			if c, err = az.customRole(ctx, x.need, name); err != nil {
				return err
			}
			seen[name] = c
			if c.State == missingState {
				r.Definitions = append(r.Definitions, c)
			}
		}
		if x.toMake() {
			x.Role, x.definition, x.custom = name, c.guid, c
		}
	}
	return nil
}

// has reports whether mic has by a role what the row is for.
func (x *row) has(role string) bool {
	return (x.State == presentState || x.State == inheritedState) &&
		slices.ContainsFunc(x.From, func(s source) bool { return strings.EqualFold(s.Role, role) })
}

func (az *azure) customRole(ctx context.Context, n roles.Need, name string) (*customRole, error) {
	c := &customRole{
		Name: name, Scope: "/subscriptions/" + n.Subscription(), Actions: n.Job.Actions(), State: missingState,
		guid: uuid.NewSHA1(uuid.NameSpaceURL, []byte("podid:"+name)).String(),
	}
	d, found, err := az.custom(ctx, c.Scope, name)
	if err != nil {
		return nil, err
	}
	c.AssignableScopes = d.scopes
	if !slices.ContainsFunc(d.scopes, func(s string) bool { return strings.EqualFold(s, c.Scope) }) {
		c.AssignableScopes = append(c.AssignableScopes, c.Scope)
	}
	if found {
		c.guid = d.name
		if d.allowsOnly(c.Actions) && len(c.AssignableScopes) == len(d.scopes) {
			c.State = presentState
		}
	}
	c.Command = c.command()
	return c, nil
}
