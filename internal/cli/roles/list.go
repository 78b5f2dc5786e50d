package roles

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"

	"github.com/podid-io/podid/internal/roles"
)

// errNobody is that Entra ID knows no object with the id of a principal.
var errNobody = errors.New("no such object id is known to Entra ID: is it the client id, or one of another tenant?")

// seen is what a principal has in a subscription.
type seen struct {
	grants []roles.Grant
	made   []made
	// errs says of scopes why it cannot be told what it has there.
	errs map[string]error
}

// made is a role assignment of a principal itself.
type made struct {
	id, name, scope, definition, role string
}

// look lists the roles that a principal, or a group that it is in, has in a
// subscription: on it, above and below. Who may not look there looks at each scope.
func (az *azure) look(ctx context.Context, principal, subscription string, needs []roles.Need) (seen, error) {
	all, err := az.assigned(ctx, "/subscriptions/"+subscription, fmt.Sprintf("assignedTo('%s')", principal), principal, needs)
	if err == nil || errors.Is(err, errNobody) {
		return all, err
	}
	out := seen{errs: map[string]error{}}
	if !is(err, "AuthorizationFailed") {
		for _, n := range needs {
			out.errs[n.Scope] = err
		}
		return out, nil
	}
	for _, n := range needs {
		some, err := az.at(ctx, principal, n)
		switch {
		case errors.Is(err, errNobody):
			return out, err
		case err != nil:
			out.errs[n.Scope] = err
		}
		out.grants = append(out.grants, some.grants...)
	}
	return out, nil
}

// at lists what a principal has on the scope of one need.
func (az *azure) at(ctx context.Context, principal string, n roles.Need) (seen, error) {
	return az.assigned(ctx, n.Scope, fmt.Sprintf("atScope() and assignedTo('%s')", principal), principal, []roles.Need{n})
}

// assigned lists the role assignments that could matter for needs, and those of
// the principal itself.
func (az *azure) assigned(ctx context.Context, scope, filter, principal string, needs []roles.Need) (seen, error) {
	o := &armauthorization.RoleAssignmentsClientListForScopeOptions{Filter: new(url.PathEscape(filter))} // the SDK sends it as it is
	if az.principalTenant != "" {
		o.TenantID = &az.principalTenant
	}
	pager := az.assignments.NewListForScopePager(strings.TrimPrefix(scope, "/"), o)
	var out seen
	for pager.More() {
		answer, err := pager.NextPage(ctx)
		if is(err, "PrincipalNotFound") {
			return seen{}, errNobody
		}
		if err != nil {
			return seen{}, fmt.Errorf("list the role assignments of %s: %w", scope, plain(err))
		}
		for _, a := range answer.Value {
			if a == nil || a.Properties == nil || value(a.Properties.Scope) == "" {
				continue
			}
			if err := az.take(ctx, &out, scope, principal, a, needs); err != nil {
				return seen{}, err
			}
		}
	}
	return out, nil
}

// take takes up one role assignment of a list.
func (az *azure) take(ctx context.Context, out *seen, listed, principal string, a *armauthorization.RoleAssignment, needs []roles.Need) error {
	at := value(a.Properties.Scope)
	matters := slices.ContainsFunc(needs, func(n roles.Need) bool { return roles.Covers(at, n.Scope) })
	m := made{id: value(a.ID), name: value(a.Name), scope: at, definition: lastOf(value(a.Properties.RoleDefinitionID))}
	ours := strings.EqualFold(value(a.Properties.PrincipalID), principal) && strings.EqualFold(m.name, assignmentName(at, principal, m.definition))
	if !matters && !ours {
		return nil
	}
	// The role can be read where it was assigned, but above that not by everybody.
	from := listed
	if roles.Covers(listed, at) {
		from = at
	}
	d, err := az.definition(ctx, from, m.definition)
	if err != nil {
		return err
	}
	if m.role = d.roleName; ours {
		out.made = append(out.made, m)
	}
	if matters {
		out.grants = append(out.grants, roles.Grant{Scope: at, Role: d.roleName, Permissions: d.permissions, Condition: value(a.Properties.Condition)})
	}
	return nil
}

// definition reads a role once, as it is seen from a scope.
func (az *azure) definition(ctx context.Context, scope, name string) (definition, error) {
	key := strings.ToLower(name)
	az.mu.Lock()
	d, ok := az.known[key]
	az.mu.Unlock()
	if ok {
		return d, nil
	}
	answer, err := az.definitions.Get(ctx, strings.TrimPrefix(scope, "/"), name, nil)
	if err != nil {
		return definition{}, fmt.Errorf("read the role %s: %w", name, plain(err))
	}
	d = definitionOf(answer.RoleDefinition)
	az.mu.Lock()
	defer az.mu.Unlock()
	az.known[key] = d
	return d, nil
}

func lastOf(id string) string { return id[strings.LastIndex(id, "/")+1:] }
