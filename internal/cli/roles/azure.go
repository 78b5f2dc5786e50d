package roles

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
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
	name        string // of the cloud
	credential  azcore.TokenCredential
	options     *arm.ClientOptions
	assignments *armauthorization.RoleAssignmentsClient
	definitions *armauthorization.RoleDefinitionsClient

	// principalTenant is the tenant that mic's identity is in; empty where that is
	// the one that the scopes are in.
	principalTenant string

	mu    sync.Mutex
	known map[string]definition // by name in lower case, guarded by mu
}

// definition is a role as Azure has it.
type definition struct {
	name        string // the GUID
	roleName    string
	permissions []roles.Permission
	scopes      []string // where it may be assigned
	data        bool     // it allows something with data too
}

// allowsOnly reports whether it allows these actions, and nothing else.
func (d definition) allowsOnly(actions []string) bool {
	var has []string
	for _, p := range d.permissions {
		if len(p.NotActions) > 0 {
			return false
		}
		for _, a := range p.Actions {
			has = append(has, strings.ToLower(a))
		}
	}
	want := strings.Split(strings.ToLower(strings.Join(actions, ",")), ",")
	slices.Sort(has)
	slices.Sort(want)
	return !d.data && slices.Equal(slices.Compact(has), want)
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
	d := definition{name: value(r.Name)}
	if r.Properties == nil {
		return d
	}
	d.roleName, d.scopes = value(r.Properties.RoleName), values(r.Properties.AssignableScopes)
	for _, p := range r.Properties.Permissions {
		if p != nil {
			d.permissions = append(d.permissions, roles.Permission{Actions: values(p.Actions), NotActions: values(p.NotActions)})
			d.data = d.data || len(p.DataActions) > 0
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

// gone reports whether Azure says that something does not exist.
func gone(err error) bool {
	answer, ok := errors.AsType[*azcore.ResponseError](err)
	return ok && answer.StatusCode == http.StatusNotFound
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

// plain makes one line of an answer of Azure, which the SDK shows whole. Of one that
// is a line already nothing is left to be read.
func plain(err error) error {
	if _, done := errors.AsType[plainError](err); done {
		return err
	}
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
