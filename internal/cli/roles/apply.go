package roles

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"golang.org/x/sync/errgroup"
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
		if x.State != missingState {
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
		x.State = presentState
	default:
		x.State, x.Error = failedState, advice(err)
		return
	}
	x.Lacking, x.Command = nil, ""
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
	actions := make([]*string, 0, len(c.Actions))
	for _, a := range c.Actions {
		actions = append(actions, &a)
	}
	_, err := az.definitions.CreateOrUpdate(ctx, strings.TrimPrefix(c.Scope, "/"), c.guid, armauthorization.RoleDefinition{
		Properties: &armauthorization.RoleDefinitionProperties{
			RoleName: &c.Name, RoleType: new("CustomRole"), Description: new(description),
			AssignableScopes: []*string{&c.Scope}, Permissions: []*armauthorization.Permission{{Actions: actions}},
		},
	}, nil)
	return err
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
