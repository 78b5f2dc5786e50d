package roles

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"

	"github.com/podid-io/podid/internal/roles"
)

// atOnce is how many requests for different things there are at once.
const atOnce = 8

// azure reads and makes role assignments as the person who signed in.
type azure struct {
	credential  azcore.TokenCredential
	options     *arm.ClientOptions
	assignments *armauthorization.RoleAssignmentsClient
	definitions *armauthorization.RoleDefinitionsClient

	mu    sync.Mutex
	known map[string]definition // by name in lower case, guarded by mu
}

// definition is a role as Azure has it.
type definition struct {
	id, name    string // name is the GUID
	roleName    string
	permissions []roles.Permission
}

func newAzure(credential azcore.TokenCredential, where cloud.Configuration, client *http.Client) (*azure, error) {
	o := &arm.ClientOptions{
		ClientOptions: azcore.ClientOptions{
			Cloud: where,
			// The last is the deadline of one request.
			Retry:     policy.RetryOptions{TryTimeout: time.Minute},
			Telemetry: policy.TelemetryOptions{ApplicationID: "podid-roles"},
		},
		DisableRPRegistration: true,
	}
	if client != nil {
		o.Transport = client
	}
	az := &azure{credential: credential, options: o, known: map[string]definition{}}
	var err error
	// Every scope is given with the request: the client needs no subscription.
	if az.assignments, err = armauthorization.NewRoleAssignmentsClient("", credential, o); err != nil {
		return nil, err
	}
	az.definitions, err = armauthorization.NewRoleDefinitionsClient(credential, o)
	return az, err
}

// grants are the roles that a principal, or a group that it is in, has in a
// subscription: on it, above and below. Who may not look there looks at each scope.
func (az *azure) grants(ctx context.Context, principal, subscription string, needs []roles.Need) ([]roles.Grant, error) {
	all, err := az.assigned(ctx, "/subscriptions/"+subscription, fmt.Sprintf("assignedTo('%s')", principal), needs)
	if !is(err, "AuthorizationFailed") {
		return all, err
	}
	for _, n := range needs {
		some, err := az.assigned(ctx, n.Scope, fmt.Sprintf("atScope() and assignedTo('%s')", principal), []roles.Need{n})
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// assigned lists the role assignments that could matter for needs.
func (az *azure) assigned(ctx context.Context, scope, filter string, needs []roles.Need) ([]roles.Grant, error) {
	filter = url.PathEscape(filter) // the SDK sends it as it is
	pager := az.assignments.NewListForScopePager(strings.TrimPrefix(scope, "/"), &armauthorization.RoleAssignmentsClientListForScopeOptions{Filter: &filter})
	var grants []roles.Grant
	for pager.More() {
		answer, err := pager.NextPage(ctx)
		if is(err, "PrincipalNotFound") { // it is so new that nothing can be assigned to it
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list the role assignments of %s: %w", scope, plain(err))
		}
		for _, a := range answer.Value {
			// What a condition restricts cannot be told here: it does not count.
			if a == nil || a.Properties == nil || value(a.Properties.Condition) != "" {
				continue
			}
			at := value(a.Properties.Scope)
			if at == "" || !slices.ContainsFunc(needs, func(n roles.Need) bool { return roles.Covers(at, n.Scope) }) {
				continue
			}
			// The role can be read where it was assigned, but above scope not by everybody.
			from := scope
			if roles.Covers(scope, at) {
				from = at
			}
			d, err := az.definition(ctx, from, value(a.Properties.RoleDefinitionID))
			if err != nil {
				return nil, err
			}
			grants = append(grants, roles.Grant{Scope: at, Role: d.roleName, Permissions: d.permissions})
		}
	}
	return grants, nil
}

// definition reads a role once, as it is seen from a scope.
func (az *azure) definition(ctx context.Context, scope, id string) (definition, error) {
	name := id[strings.LastIndex(id, "/")+1:]
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

// custom finds a custom role by its name.
func (az *azure) custom(ctx context.Context, scope, name string) (d definition, found bool, err error) {
	pager := az.definitions.NewListPager(strings.TrimPrefix(scope, "/"), &armauthorization.RoleDefinitionsClientListOptions{Filter: new(fmt.Sprintf("roleName eq '%s'", name))})
	for pager.More() {
		answer, err := pager.NextPage(ctx)
		if err != nil {
			return definition{}, false, fmt.Errorf("look for the role %s: %w", name, plain(err))
		}
		for _, r := range answer.Value {
			if r != nil && r.Properties != nil && strings.EqualFold(value(r.Properties.RoleName), name) {
				return definitionOf(*r), true, nil
			}
		}
	}
	return definition{}, false, nil
}

func definitionOf(r armauthorization.RoleDefinition) definition {
	d := definition{id: value(r.ID), name: value(r.Name)}
	if r.Properties == nil {
		return d
	}
	d.roleName = value(r.Properties.RoleName)
	for _, p := range r.Properties.Permissions {
		if p != nil {
			d.permissions = append(d.permissions, roles.Permission{Actions: values(p.Actions), NotActions: values(p.NotActions)})
		}
	}
	return d
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func values(list []*string) []string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		out = append(out, value(s))
	}
	return out
}

// is reports whether err is an answer of Azure with this code.
func is(err error, code string) bool {
	answer, ok := errors.AsType[*azcore.ResponseError](err)
	return ok && answer.ErrorCode == code
}

// plainError is an answer of Azure in one line.
type plainError struct {
	line string
	*azcore.ResponseError
}

func (e plainError) Error() string { return e.line }

func (e plainError) Unwrap() error { return e.ResponseError }

// plain makes one line of an answer of Azure, which the SDK shows whole.
func plain(err error) error {
	answer, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok {
		return err
	}
	e := plainError{line: fmt.Sprintf("%d %s", answer.StatusCode, answer.ErrorCode), ResponseError: answer}
	if answer.RawResponse == nil || answer.RawResponse.Body == nil {
		return e
	}
	raw, err := io.ReadAll(answer.RawResponse.Body) // a copy in memory, which the SDK put there
	var body struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if err == nil && json.Unmarshal(raw, &body) == nil && body.Error.Message != "" {
		e.line += ": " + strings.Join(strings.Fields(body.Error.Message), " ")
	}
	return e
}
