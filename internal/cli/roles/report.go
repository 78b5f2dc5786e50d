package roles

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/podid-io/podid/internal/cli/command"
	"github.com/podid-io/podid/internal/entra"
	"github.com/podid-io/podid/internal/roles"
)

// state says what became of a role that mic needs.
type state string

const (
	presentState   state = "present"   // on the scope itself
	inheritedState state = "inherited" // from above, or from several
	missingState   state = "missing"
	unusualState   state = "unusual" // missing, and not made without more ado
	unknownState   state = "unknown" // Azure did not say
	createdState   state = "created" // by --apply
	failedState    state = "failed"
)

// report is what is needed and what is there: the output in JSON.
type report struct {
	Cluster string `json:"cluster"`
	Context string `json:"context,omitempty"`
	Cloud   string `json:"cloud"`
	// SignedIn is as whom Azure was asked.
	SignedIn   entra.Account `json:"signedIn"`
	Principals []principal   `json:"principals"`
	Roles      []*row        `json:"roles"`
	// Definitions are the custom roles that have to be made or changed first.
	Definitions []*customRole `json:"definitions,omitempty"`
	// Surplus are the assignments that were made in this way before, and that nothing
	// in the cluster needs any more.
	Surplus []surplus `json:"noLongerNeeded,omitempty"`
	// Incomplete says that something was left out, of which Notes tell.
	Incomplete bool     `json:"incomplete"`
	Notes      []string `json:"notes,omitempty"`

	unsure bool // there are machines of which it is not known who mic would be there
}

// leaveOut tells of what could not be read, and might need a role.
func (r *report) leaveOut(what string) {
	r.Incomplete = true
	r.Notes = append(r.Notes, "left out: "+what)
}

// ambiguous says that it is not known who of several mic is: then nothing is made.
func (r *report) ambiguous() bool { return len(r.Principals) > 1 || r.unsure }

// status is that of the command.
func (r *report) status() error {
	lacking := r.count(missingState, unusualState, failedState)+r.undefined() > 0
	switch {
	case r.Incomplete, r.count(unknownState) > 0, lacking && r.ambiguous():
		return command.ErrNotFoundOut
	case lacking:
		return errMissing
	default:
		return nil
	}
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

// undefined counts the custom roles that have to be made or changed still.
func (r *report) undefined() int {
	n := 0
	for _, c := range r.Definitions {
		if c.State == missingState || c.State == failedState {
			n++
		}
	}
	return n
}

// compare fills the report with a row for each need of each principal.
func (az *azure) compare(ctx context.Context, r *report, needs []roles.Need, o *options) error {
	for _, p := range r.Principals {
		found, err := az.judge(ctx, p, needs, o)
		if errors.Is(err, errNobody) && !o.sure() { // it is so new that nothing can be assigned to it
			r.Notes = append(r.Notes, fmt.Sprintf("%s: %s", p.ID, err))
		} else if err != nil {
			return fmt.Errorf("%s: %w", p.ID, err)
		}
		for _, n := range needs {
			r.Roles = append(r.Roles, newRow(n, p, found[strings.ToLower(n.Subscription())], o))
		}
		for _, s := range found {
			r.Surplus = append(r.Surplus, surplusOf(s.made, needs)...)
		}
	}
	slices.SortFunc(r.Surplus, func(a, b surplus) int { return cmp.Compare(a.Scope, b.Scope) })
	az.doubt(ctx, r)
	if o.leastPrivilege {
		if err := az.customRoles(ctx, r); err != nil {
			return err
		}
	}
	if r.ambiguous() {
		return nil
	}
	for _, x := range r.Roles {
		if x.toMake() {
			x.Command = x.command()
		}
	}
	return nil
}

// judge looks for what a principal has, in several subscriptions at once.
func (az *azure) judge(ctx context.Context, p principal, needs []roles.Need, o *options) (map[string]*seen, error) {
	found, in := map[string]*seen{}, map[string][]roles.Need{}
	for _, n := range needs {
		key := strings.ToLower(n.Subscription())
		found[key], in[key] = new(seen), append(in[key], n)
	}
	if o.blind() {
		return found, nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for subscription, into := range found {
		g.Go(func() (err error) { // ends with its requests
			*into, err = az.look(ctx, p.ID, subscription, in[subscription])
			return err
		})
	}
	return found, g.Wait()
}

// doubt asks for what is missing on resource groups whether there is a reason: who
// writes a Node or an AzureIdentity may name any.
func (az *azure) doubt(ctx context.Context, r *report) {
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, x := range r.Roles {
		if !x.toMake() || !x.need.OnGroup() {
			continue
		}
		g.Go(func() error { // ends with its requests
			switch err := az.there(ctx, x.need); {
			case errors.Is(err, errNotThere):
				x.State, x.Error = unusualState, err.Error()
			case err != nil:
				x.State, x.Error = unknownState, "what is in it cannot be looked at: "+err.Error()
				x.blind = false
			}
			return nil
		})
	}
	_ = g.Wait() // there are no errors but those in the rows
}
