package azemu

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// resourceBody is a VM or scale set as Resource Manager shows it.
type resourceBody struct {
	ID         string         `json:"id"`
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Location   string         `json:"location"`
	ETag       string         `json:"etag,omitempty"`
	InstanceID string         `json:"instanceId,omitempty"`
	SKU        *skuBody       `json:"sku,omitempty"`
	Identity   *identityBody  `json:"identity,omitempty"`
	Properties map[string]any `json:"properties"`
}

type skuBody struct {
	Name     string `json:"name"`
	Tier     string `json:"tier"`
	Capacity int    `json:"capacity"`
}

type identityBody struct {
	Type         string                   `json:"type"`
	PrincipalID  string                   `json:"principalId,omitempty"`
	TenantID     string                   `json:"tenantId,omitempty"`
	UserAssigned map[string]principalBody `json:"userAssignedIdentities,omitempty"`
}

type principalBody struct {
	PrincipalID string `json:"principalId,omitempty"`
	ClientID    string `json:"clientId,omitempty"`
}

// describe shows s as a GET does: the identities of its goal, even while the
// operation that brings them to the machines is in flight.
func (c *cloud) describe(s *scope) resourceBody {
	b := resourceBody{
		ID: s.id.String(), Name: s.id.name, Type: s.id.provider + "/" + s.id.kind,
		Location: s.location, ETag: s.quotedETag(), Identity: c.describeIdentity(s),
		Properties: map[string]any{"provisioningState": s.provisioning},
	}
	if s.id.resourceType() == kindVM {
		b.Properties["vmId"] = s.machines[0].vmID
		b.Properties["hardwareProfile"] = map[string]string{"vmSize": "Standard_D2s_v5"}
		if s.set != "" {
			b.Properties["virtualMachineScaleSet"] = map[string]string{"id": s.set}
		}
		return b
	}
	b.SKU = &skuBody{Name: "Standard_D2s_v5", Tier: "Standard", Capacity: c.capacity(s)}
	b.Properties["uniqueId"] = cmp.Or(s.uniqueID, guid("vmss", c.which(s.id.String(), s.id)))
	b.Properties["orchestrationMode"] = Uniform
	if s.flexible {
		b.Properties["orchestrationMode"] = Flexible
	}
	b.Properties["upgradePolicy"] = map[string]string{"mode": "Manual"}
	return b
}

// describeIdentity is the property identity of s, nil when it has none. An
// identity that was deleted since stays listed, without its ids.
func (c *cloud) describeIdentity(s *scope) *identityBody {
	kind := s.goal.kind()
	if kind == (identityType{}) {
		return nil
	}
	b := &identityBody{Type: kind.String()}
	if kind.system {
		b.PrincipalID, b.TenantID = s.system(c.tenant).objectID, c.tenant
	}
	if kind.user {
		b.UserAssigned = map[string]principalBody{}
		for key, id := range s.goal.user {
			i := c.identities[key]
			if s.orphans[key] || s.flexible { // Azure shows neither's ids
				i = Identity{}
			}
			b.UserAssigned[asListed(id)] = principalBody{PrincipalID: i.PrincipalID, ClientID: i.ClientID}
		}
	}
	return b
}

func (e *Emulator) getScope(c *armCall) (armReply, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, ok := e.cloud.scopes[c.id.key()]
	if !ok {
		return armReply{}, notFound(c.id)
	}
	return armReply{status: http.StatusOK, header: etagHeader(s), body: e.cloud.describe(s)}, nil
}

// getInstance shows one machine of a scale set. Identities are the scale set's.
func (e *Emulator) getInstance(c *armCall) (armReply, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	set := c.id
	set.childKind, set.child = "", ""
	s, ok := e.cloud.scopes[set.key()]
	if !ok {
		return armReply{}, notFound(set)
	}
	i := slices.IndexFunc(s.machines, func(m *machine) bool { return m.instanceID == c.id.child })
	if i < 0 {
		return armReply{}, notFound(c.id)
	}
	m := s.machines[i]
	id := s.id
	id.childKind, id.child = "virtualMachines", m.instanceID
	return armReply{status: http.StatusOK, body: resourceBody{
		ID: id.String(), Name: s.id.name + "_" + m.instanceID, Type: id.provider + "/" + id.kind + "/" + id.childKind,
		Location: s.location, ETag: s.quotedETag(), InstanceID: m.instanceID,
		Properties: map[string]any{
			"vmId": m.vmID, "provisioningState": s.provisioning, "latestModelApplied": true,
			"osProfile": map[string]string{"computerName": m.name},
		},
	}}, nil
}

// patchBody is what is read of a PATCH.
type patchBody struct {
	Identity identityPatch `json:"identity"`
}

// patchScope is the identity PATCH of a VM or scale set. Other properties in
// the body are accepted and forgotten.
func (e *Emulator) patchScope(c *armCall) (armReply, error) {
	var body patchBody
	if err := readBody(c.r, &body); err != nil {
		return armReply{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	s, ok := e.cloud.scopes[c.id.key()]
	if !ok {
		return armReply{}, notFound(c.id)
	}
	next, added, err := s.goal.patched(body.Identity)
	if err != nil {
		return armReply{}, err
	}
	if err := s.suits(next); err != nil {
		return armReply{}, err
	}
	if err := e.mayAssign(c, added); err != nil {
		return armReply{}, err
	}
	if err := e.cloud.assignable(c, added); err != nil {
		return armReply{}, err
	}
	if err := e.cloud.writable(s, c.r.Header.Get("If-Match")); err != nil {
		return armReply{}, err
	}
	op := e.startOperation(s, next, s.changes(next, added), time.Now())
	header := etagHeader(s)
	header.Set("Azure-Asyncoperation", operationURL(c.r, op))
	header.Set("Location", operationURL(c.r, op)+"&monitor=true")
	header.Set("Retry-After", e.retryAfter())
	return armReply{status: http.StatusOK, header: header, body: e.cloud.describe(s)}, nil
}

// assignable asks whether the identities exist and may be assigned: one that is
// not fails the whole PATCH. All that may not be assigned are named at once.
func (c *cloud) assignable(call *armCall, ids []armID) error {
	var refused []string
	for _, id := range ids {
		i, ok := c.identities[id.key()]
		if !ok {
			return identityOperation(fmt.Sprintf("Resource '%s' was not found.", id))
		}
		if i.NoPermission {
			refused = append(refused, id.String())
		}
	}
	if len(refused) == 0 {
		return nil
	}
	return linkedAuthorizationFailed(call, refused)
}

// linkedAuthorizationFailed is the refusal of a caller who may not assign some of
// the identities.
func linkedAuthorizationFailed(call *armCall, refused []string) *armError {
	return &armError{http.StatusForbidden, "LinkedAuthorizationFailed", fmt.Sprintf(
		"The client '%[1]s' with object id '%[1]s' has permission to perform action '%[2]s/%[3]s/write' on scope '%[4]s'; however, it does not have permission to perform action(s) 'Microsoft.ManagedIdentity/userAssignedIdentities/assign/action' on the linked scope(s) '%[5]s' (respectively) or the linked scope(s) are invalid.",
		call.caller, call.id.provider, call.id.kind, call.id, strings.Join(refused, ","))}
}

// writable asks whether s may be written now: not when the caller read another
// version, and not while an operation is in flight.
func (c *cloud) writable(s *scope, ifMatch string) error {
	if etag := s.quotedETag(); ifMatch != "" && ifMatch != "*" && ifMatch != etag {
		return &armError{
			http.StatusPreconditionFailed, "PreconditionFailed",
			fmt.Sprintf("Etag provided in if-match header %s does not match etag %s of resource.", ifMatch, etag),
		}
	}
	if s.running != "" {
		return c.operations[s.running].busy()
	}
	return nil
}

func etagHeader(s *scope) http.Header { return http.Header{"Etag": {s.quotedETag()}} }

// armIdentity is a user-assigned identity as Resource Manager shows it.
type armIdentity struct {
	ID         string             `json:"id"`
	Name       string             `json:"name"`
	Type       string             `json:"type"`
	Location   string             `json:"location"`
	Properties armIdentityDetails `json:"properties"`
}

type armIdentityDetails struct {
	TenantID    string `json:"tenantId"`
	PrincipalID string `json:"principalId"`
	ClientID    string `json:"clientId"`
}

func (c *cloud) describeUserAssigned(i Identity) armIdentity {
	id, _ := parseARMID(i.ID) // was parsed when it came in
	return armIdentity{
		ID: id.String(), Name: id.name, Type: "Microsoft.ManagedIdentity/userAssignedIdentities", Location: i.Location,
		Properties: armIdentityDetails{TenantID: c.tenant, PrincipalID: i.PrincipalID, ClientID: i.ClientID},
	}
}

func (e *Emulator) getIdentity(c *armCall) (armReply, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	i, ok := e.cloud.identities[c.id.key()]
	if !ok {
		return armReply{}, notFound(c.id)
	}
	return armReply{status: http.StatusOK, body: e.cloud.describeUserAssigned(i)}, nil
}

func (e *Emulator) putIdentity(c *armCall) (armReply, error) {
	var body struct {
		Location string `json:"location"`
	}
	if err := readBody(c.r, &body); err != nil {
		return armReply{}, err
	}
	if body.Location == "" {
		return armReply{}, invalid("LocationRequired", "The location property is required for this definition.")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	i, exists := e.cloud.identities[c.id.key()]
	if exists {
		return armReply{status: http.StatusOK, body: e.cloud.describeUserAssigned(i)}, nil
	}
	if err := e.cloud.applyIdentity(Identity{ID: c.id.String(), Location: body.Location}); err != nil {
		return armReply{}, invalid("InvalidResourceName", "%s", err)
	}
	return armReply{status: http.StatusCreated, body: e.cloud.describeUserAssigned(e.cloud.identities[c.id.key()])}, nil
}

// deleteIdentity forgets an identity. Machines keep listing it, and IMDS finds
// it no more.
func (e *Emulator) deleteIdentity(c *armCall) (armReply, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.cloud.identities[c.id.key()]; !ok {
		return armReply{status: http.StatusNoContent}, nil
	}
	e.cloud.removeIdentity(c.id.key())
	return armReply{status: http.StatusOK}, nil
}

func (e *Emulator) listIdentities(c *armCall) (armReply, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := []armIdentity{}
	for _, key := range slices.Sorted(maps.Keys(e.cloud.identities)) {
		i := e.cloud.identities[key]
		if id, _ := parseARMID(i.ID); id.inGroup(c.id) {
			list = append(list, e.cloud.describeUserAssigned(i))
		}
	}
	return armReply{status: http.StatusOK, body: map[string]any{"value": list}}, nil
}
