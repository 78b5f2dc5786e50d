package azemu

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"
)

// Edit is what somebody else does to a VM or scale set: the owner of the cluster,
// or Azure itself. No limit and no fault is in its way.
type Edit struct {
	// Scope is the ARM id of the VM or scale set; to be deleted also that of one
	// instance of a scale set.
	Scope string `json:"scope"`
	// Attach and Detach are the ARM ids of identities. Without either it is an
	// operation about something else, which leaves the ETag as it is.
	Attach []string `json:"attach,omitempty"`
	Detach []string `json:"detach,omitempty"`
	// Delete removes it. Others see it until then, as being deleted.
	Delete bool `json:"delete,omitempty"`
	// Takes is how long its operation lasts. 0 is done at once.
	Takes Duration `json:"takes,omitempty"`
	// Refusal is the code of the 409 that writers get meanwhile. The default is Conflict.
	Refusal string `json:"refusal,omitempty"`
}

// Edit has somebody else change a VM or scale set. It fails for what does not
// exist, and while an operation is in flight.
func (e *Emulator) Edit(x Edit) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.edit(x, time.Now()); err != nil {
		return fmt.Errorf("edit of %s: %w", x.Scope, err)
	}
	return nil
}

// edit is Edit for who holds mu.
func (e *Emulator) edit(x Edit, now time.Time) error {
	id, ok := parseARMID(x.Scope)
	if !ok || x.Takes < 0 {
		return errors.New("want the id of a VM or scale set, and a time that is not negative")
	}
	if x.Delete && id.child != "" {
		return e.cloud.deleteInstance(id)
	}
	s, ok := e.cloud.scopes[id.key()]
	if !ok {
		return errors.New("there is no such VM or scale set")
	}
	if s.running != "" {
		return errors.New("an operation is in flight")
	}
	op := newOperation(s, now)
	op.foreign, op.refusal = true, x.Refusal
	if x.Delete {
		op.refusal, op.deletes = "OperationNotAllowed", true
	} else if err := e.cloud.reassign(s, op, x); err != nil {
		return err
	}
	e.begin(s, op, time.Duration(x.Takes), now)
	return nil
}

// reassign makes what x attaches and detaches the goal of s, and op the way there.
func (c *cloud) reassign(s *scope, op *operation, x Edit) error {
	next := assignment{system: s.goal.system, user: maps.Clone(s.goal.user)}
	if next.user == nil {
		next.user = map[string]string{}
	}
	var added []armID
	for _, raw := range x.Attach {
		id, ok := parseResource(raw, kindIdentity)
		known, exists := c.identities[id.key()]
		if !ok || !exists {
			return fmt.Errorf("there is no identity %q", raw)
		}
		next.user[id.key()] = known.ID
		added = append(added, id)
	}
	for _, raw := range x.Detach {
		id, _ := parseResource(raw, kindIdentity)
		delete(next.user, id.key())
	}
	op.changes = s.changes(next, added)
	if len(x.Attach)+len(x.Detach) > 0 {
		s.goal = next
		s.etag++
	}
	return nil
}

// deleteInstance removes one machine of a scale set.
func (c *cloud) deleteInstance(id armID) error {
	set := id
	set.childKind, set.child = "", ""
	s, ok := c.scopes[set.key()]
	if !ok {
		return errors.New("there is no such scale set")
	}
	left := slices.DeleteFunc(slices.Clone(s.machines), func(m *machine) bool { return m.instanceID == id.child })
	if len(left) == len(s.machines) {
		return errors.New("there is no such instance")
	}
	s.machines = left
	return nil
}

// DeleteIdentity deletes a user-assigned identity. What has it goes on listing
// it, without its client id; no machine gets a token for it; an operation that is
// about to attach it fails.
func (e *Emulator) DeleteIdentity(id string) error {
	_, err := e.dropIdentity(id)
	return err
}

// RecreateIdentity deletes a user-assigned identity and makes one with the same
// ARM id, and another client and principal id. What had it must be given it anew.
func (e *Emulator) RecreateIdentity(id string) (Identity, error) {
	i, err := e.dropIdentity(id)
	if err != nil {
		return Identity{}, err
	}
	i.ClientID, i.PrincipalID = "", ""
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.cloud.applyIdentity(i); err != nil {
		return Identity{}, err
	}
	parsed, _ := parseARMID(i.ID)
	return e.cloud.identities[parsed.key()], nil
}

func (e *Emulator) dropIdentity(raw string) (Identity, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	id, _ := parseResource(raw, kindIdentity)
	i, ok := e.cloud.identities[id.key()]
	if !ok {
		return Identity{}, fmt.Errorf("there is no identity %q", raw)
	}
	e.cloud.removeIdentity(id.key())
	return i, nil
}

// removeIdentity forgets an identity: who has it has the identity that was.
func (c *cloud) removeIdentity(key string) {
	delete(c.identities, key)
	c.deleted[key]++
	c.orphan(key)
}

// orphan has those that list an identity list one that is no more.
func (c *cloud) orphan(key string) {
	for _, s := range c.scopes {
		_, wanted := s.goal.user[key]
		_, known := s.seen.user[key]
		if wanted || known {
			s.orphans = maps.Clone(s.orphans)
			if s.orphans == nil {
				s.orphans = map[string]bool{}
			}
			s.orphans[key] = true
		}
	}
	for _, op := range c.operations {
		if op.status == inProgress && slices.Contains(op.attach, key) {
			op.missing = append(op.missing, key)
		}
	}
}

// busy is the answer to who writes while op is in flight.
func (op *operation) busy() *armError {
	switch op.refusal {
	case "", "Conflict":
		return &armError{http.StatusConflict, "Conflict", "The request failed due to conflict with a concurrent request. To resolve it, please refer to https://aka.ms/activitylog to get more details on the conflicting requests."}
	case "OperationNotAllowed":
		if op.deletes {
			return &armError{http.StatusConflict, op.refusal, fmt.Sprintf("Operation 'PATCH' is not allowed on '%s' since it is marked for deletion.", op.on.name)}
		}
	}
	return &armError{http.StatusConflict, op.refusal, fmt.Sprintf("Another operation is in progress on '%s'. Retry when it has ended.", op.on.name)}
}
