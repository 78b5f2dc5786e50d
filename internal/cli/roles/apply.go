package roles

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"golang.org/x/sync/errgroup"

	"github.com/podid-io/podid/internal/roles"
)

// apply makes what is missing. What fails is told in its row, and holds up
// nothing else.
func (az *azure) apply(ctx context.Context, r *report) {
	for _, c := range r.Definitions {
		c.State = createdState
		if err := az.define(ctx, c); err != nil {
			c.State, c.Error = failedState, plain(err).Error()
		}
	}
	patience, cancel := context.WithTimeout(ctx, longestWait)
	defer cancel()
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, x := range r.Roles {
		if !x.toMake() {
			continue
		}
		g.Go(func() error { // ends with its requests
			x.make(ctx, patience, az)
			return nil
		})
	}
	_ = g.Wait() // there are no errors but those in the rows
}

// make makes the assignment of a row. When patience ends, nothing is tried again.
func (x *row) make(ctx, patience context.Context, az *azure) {
	if x.custom != nil && x.custom.State == failedState {
		x.State, x.Error = failedState, "its role could not be made"
		return
	}
	err := patiently(patience, func() error { return az.assign(ctx, x) })
	switch {
	case err == nil:
		x.State = createdState
	case is(err, "RoleAssignmentExists"):
		if x.State, x.Error = az.again(ctx, x); x.State != presentState {
			return
		}
	default:
		x.State, x.Error = failedState, advice(err)
		return
	}
	x.Lacking, x.Command, x.Conditions, x.Error = nil, "", nil, ""
}

// again judges an assignment that Azure says is there: it may have a condition, or
// have been made meanwhile.
func (az *azure) again(ctx context.Context, x *row) (is state, why string) {
	if x.blind {
		return unknownState, "it is there; whether it has a condition cannot be told without --principal-tenant-id"
	}
	now, err := az.at(ctx, x.PrincipalID, x.need)
	if err != nil {
		return failedState, "it is there, and cannot be looked at: " + err.Error()
	}
	v := roles.Judge(x.need, now.grants)
	switch {
	case len(v.Lacking) == 0:
		return presentState, ""
	case len(v.Conditional) > 0:
		return failedState, "it is there with a condition, and does not count: take the condition off, or delete it"
	default:
		return failedState, "Azure says that it is there, and does not show it yet: run this again"
	}
}

func (az *azure) assign(ctx context.Context, x *row) error {
	p := &armauthorization.RoleAssignmentProperties{
		PrincipalID: &x.PrincipalID, RoleDefinitionID: new(x.definitionID()),
		// With a type Azure does not ask Entra ID, which may not know a new one yet.
		PrincipalType: new(armauthorization.PrincipalTypeServicePrincipal),
	}
	if x.delegated != "" {
		p.DelegatedManagedIdentityResourceID = &x.delegated
	}
	_, err := az.assignments.Create(ctx, strings.TrimPrefix(x.Scope, "/"), x.name(), armauthorization.RoleAssignmentCreateParameters{Properties: p}, nil)
	return err
}

// define makes or changes a custom role.
func (az *azure) define(ctx context.Context, c *customRole) error {
	_, err := az.definitions.CreateOrUpdate(ctx, strings.TrimPrefix(c.Scope, "/"), c.guid, armauthorization.RoleDefinition{
		Properties: &armauthorization.RoleDefinitionProperties{
			RoleName: &c.Name, RoleType: new("CustomRole"), Description: new(description),
			AssignableScopes: pointers(c.AssignableScopes), Permissions: []*armauthorization.Permission{{Actions: pointers(c.Actions)}},
		},
	}, nil)
	az.mu.Lock()
	defer az.mu.Unlock()
	delete(az.known, strings.ToLower(c.guid))
	return err
}

func pointers(list []string) []*string {
	out := make([]*string, 0, len(list))
	for _, s := range list {
		out = append(out, &s)
	}
	return out
}

// description is that of custom roles.
const description = "What mic of podid needs, and no more"

// The waits for Azure to know everywhere what was made a moment ago: each is twice
// the one before, and all assignments wait longestWait together.
const (
	firstWait   = time.Second
	longestWait = 90 * time.Second
)

// patiently tries again, for a while, what fails because Azure does not know a
// new principal or a new role everywhere yet.
func patiently(patience context.Context, try func() error) error {
	for wait := firstWait; ; wait *= 2 {
		err := try()
		if !is(err, "PrincipalNotFound") && !is(err, "RoleDefinitionDoesNotExist") {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-patience.Done():
			timer.Stop()
			return err
		}
	}
}

// advice says what to do about a refusal, where that is known.
func advice(err error) string {
	said := plain(err).Error()
	if is(err, "AuthorizationFailed") {
		return fmt.Sprintf("you may not assign roles there: that takes Owner, User Access Administrator or Role Based Access Control Administrator (%s)", said)
	}
	return said
}
