package roles

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/podid-io/podid/internal/roles"
)

// state says what became of a role that mic needs.
type state string

const (
	presentState   state = "present"   // on the scope itself
	inheritedState state = "inherited" // from above, or from several
	missingState   state = "missing"
	createdState   state = "created" // by --apply
	failedState    state = "failed"
)

// report is what is needed and what is there: the output in JSON.
type report struct {
	Principals []principal `json:"principals"`
	Roles      []*row      `json:"roles"`
	// Definitions are the custom roles that have to be made or changed first.
	Definitions []*customRole `json:"definitions,omitempty"`
	Notes       []string      `json:"notes,omitempty"`
}

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
	// Command makes the assignment.
	Command string `json:"command,omitempty"`
	Error   string `json:"error,omitempty"`

	need       roles.Need
	definition string      // GUID of the role; empty for a custom one until it is there
	custom     *customRole // that has to be made or changed first; nil for none
	delegated  string
}

// source is where mic has from what it has.
type source struct {
	Role  string `json:"role"`
	Scope string `json:"scope"`
}

// customRole is a custom role for a job in a subscription.
type customRole struct {
	Name    string   `json:"name"`
	Scope   string   `json:"assignableScope"`
	Actions []string `json:"actions"`
	State   state    `json:"state"`
	// Command makes or changes it.
	Command string `json:"command"`
	Error   string `json:"error,omitempty"`

	guid string
}

// count counts the rows in some states.
func (r *report) count(states ...state) int {
	n := 0
	for _, x := range r.Roles {
		if slices.Contains(states, x.State) {
			n++
		}
	}
	return n
}

// compare fills the report with a row for each need of each principal.
func (az *azure) compare(ctx context.Context, r *report, needs []roles.Need, o *options) error {
	bySubscription := map[string][]roles.Need{}
	for _, n := range needs {
		key := strings.ToLower(n.Subscription())
		bySubscription[key] = append(bySubscription[key], n)
	}
	for _, p := range r.Principals {
		verdicts, err := az.judge(ctx, p, bySubscription)
		if err != nil {
			return err
		}
		for _, n := range needs {
			r.Roles = append(r.Roles, newRow(n, p, verdicts[n], o.delegated))
		}
	}
	if o.leastPrivilege {
		if err := az.customRoles(ctx, r); err != nil {
			return err
		}
	}
	for _, x := range r.Roles {
		if x.State == missingState {
			x.Command = x.command()
		}
	}
	return nil
}

// judge looks for what a principal needs, in several subscriptions at once.
func (az *azure) judge(ctx context.Context, p principal, bySubscription map[string][]roles.Need) (map[roles.Need]roles.Verdict, error) {
	granted := make(map[string]*[]roles.Grant, len(bySubscription))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for subscription, needs := range bySubscription {
		into := new([]roles.Grant)
		granted[subscription] = into
		g.Go(func() (err error) { // ends with its requests
			*into, err = az.grants(ctx, p.ID, subscription, needs)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	verdicts := map[roles.Need]roles.Verdict{}
	for subscription, needs := range bySubscription {
		for _, n := range needs {
			verdicts[n] = roles.Judge(n, *granted[subscription])
		}
	}
	return verdicts, nil
}

func newRow(n roles.Need, p principal, v roles.Verdict, delegated string) *row {
	x := &row{Scope: n.Scope, PrincipalID: p.ID, Why: n.Why, State: presentState, Lacking: v.Lacking, need: n, delegated: delegated}
	x.Role, x.definition = n.Job.BuiltIn()
	for _, g := range v.By {
		x.From = append(x.From, source{Role: g.Role, Scope: g.Scope})
		if !strings.EqualFold(strings.Trim(g.Scope, "/"), strings.Trim(n.Scope, "/")) {
			x.State = inheritedState
		}
	}
	if len(v.Lacking) > 0 {
		x.State = missingState
	}
	return x
}

// customRoles has the rows that are missing name custom roles, and finds those
// that are there already.
func (az *azure) customRoles(ctx context.Context, r *report) error {
	seen := map[string]*customRole{}
	for _, x := range r.Roles {
		if x.State != missingState {
			continue
		}
		name := x.need.Job.Custom(strings.ToLower(x.need.Subscription()))
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
		x.Role, x.definition, x.custom = name, c.guid, c
	}
	return nil
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
	if found {
		c.guid = d.name
		if v := roles.Judge(n, []roles.Grant{{Scope: c.Scope, Permissions: d.permissions}}); len(v.Lacking) == 0 {
			c.State = presentState
		}
	}
	c.Command = c.command()
	return c, nil
}

// name is that of the assignment: always the same for the same, so that what is
// made twice is made once.
func (x *row) name() string {
	key := strings.ToLower(x.Scope + "|" + x.PrincipalID + "|" + x.definition)
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("podid:"+key)).String()
}

// definitionID is the ARM id of the role.
func (x *row) definitionID() string {
	return fmt.Sprintf("/subscriptions/%s/providers/Microsoft.Authorization/roleDefinitions/%s", x.need.Subscription(), x.definition)
}
