package azemu

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

const defaultLocation = "westeurope"

// cloud is the state model. Ids are keys in lower case. The emulator's mutex
// guards it.
type cloud struct {
	tenant     string
	tenants    map[string]string // ids of the others
	identities map[string]Identity
	apps       map[string]App
	scopes     map[string]*scope
	operations map[string]*operation
	forgetAt   time.Time      // when operations that ended are forgotten next
	deleted    map[string]int // how often an identity, VM or scale set was deleted

	roleDefinitions map[string]RoleDefinition // custom ones, by GUID
	roleAssignments map[string]RoleAssignment
	groups          map[string]Group // by object id
}

// scope is what ARM assigns identities to: a VM or a scale set.
type scope struct {
	id       armID
	location string
	userData string
	uniqueID string // of a scale set; empty for one that is derived
	// goal is what ARM shows: a PATCH shows at once. seen is what IMDS knows:
	// the goal of the last operation that ended well.
	goal, seen   assignment
	orphans      map[string]bool // keys of identities that were deleted since; replaced, never changed
	etag         int
	provisioning string
	running      string // id of the operation in flight, or empty
	machines     []*machine
	flexible     bool   // a flexible scale set, whose machines are VMs
	set          string // ARM id of the flexible scale set that a VM is in, or empty
}

// machine has a metadata service of its own.
type machine struct {
	name, vmID string
	instanceID string // in its scale set; empty for a VM
	sources    []netip.Prefix
	on         string // key of its scope
	limits     *limits
}

func newCloud(tenant string) *cloud {
	return &cloud{
		tenant:     tenant,
		tenants:    map[string]string{},
		identities: map[string]Identity{}, apps: map[string]App{},
		scopes: map[string]*scope{}, operations: map[string]*operation{},
		deleted:         map[string]int{},
		roleDefinitions: map[string]RoleDefinition{}, roleAssignments: map[string]RoleAssignment{},
		groups: map[string]Group{},
	}
}

// clone copies everything but operations, which are shared.
func (c *cloud) clone() *cloud {
	next := &cloud{
		tenant:     c.tenant,
		tenants:    maps.Clone(c.tenants),
		identities: maps.Clone(c.identities), apps: maps.Clone(c.apps),
		scopes: map[string]*scope{}, operations: c.operations,
		deleted:         c.deleted,
		roleDefinitions: maps.Clone(c.roleDefinitions), roleAssignments: maps.Clone(c.roleAssignments),
		groups: maps.Clone(c.groups),
	}
	for k, s := range c.scopes {
		cp := *s
		cp.machines = slices.Clone(s.machines)
		next.scopes[k] = &cp
	}
	return next
}

// apply merges s into c. On error c is left half changed.
func (c *cloud) apply(s State) error {
	if s.Tenant != "" {
		c.tenant = s.Tenant
	}
	for _, i := range s.Identities {
		if err := c.applyIdentity(i); err != nil {
			return err
		}
	}
	for _, t := range s.Tenants {
		c.tenants[strings.ToLower(t)] = t
	}
	for _, a := range s.Apps {
		if err := c.applyApp(a); err != nil {
			return err
		}
	}
	for _, v := range s.ScaleSets {
		if err := c.applyScaleSet(v); err != nil {
			return fmt.Errorf("scale set %q: %w", v.ID, err)
		}
	}
	for _, v := range s.VMs {
		if err := c.applyVM(v); err != nil {
			return fmt.Errorf("virtual machine %q: %w", v.ID, err)
		}
	}
	if err := c.applyRoles(s); err != nil {
		return err
	}
	return c.check()
}

func (c *cloud) applyIdentity(i Identity) error {
	id, ok := parseResource(i.ID, kindIdentity)
	if !ok {
		return fmt.Errorf("identity %q: want /subscriptions/S/resourceGroups/G/providers/Microsoft.ManagedIdentity/userAssignedIdentities/N", i.ID)
	}
	name := c.which(i.ID, id)
	if i.ClientID == "" {
		i.ClientID = guid("client", name)
	}
	if i.PrincipalID == "" {
		i.PrincipalID = guid("principal", name)
	}
	if i.Location == "" {
		i.Location = defaultLocation
	}
	if old, ok := c.identities[id.key()]; ok && old.PrincipalID != i.PrincipalID {
		c.orphan(id.key())
	}
	c.identities[id.key()] = i
	return nil
}

// which is a name that no other resource has had which had the same ARM id, spelled
// as raw, and was deleted.
func (c *cloud) which(raw string, id armID) string {
	if n := c.deleted[id.key()]; n > 0 {
		return raw + "#" + strconv.Itoa(n)
	}
	return raw
}

func (c *cloud) applyVM(v VM) error {
	model, err := c.modelOf(v)
	if err != nil {
		return err
	}
	s, err := c.applyScope(v.ID, kindVM, v.Location, model)
	if err != nil {
		return err
	}
	s.set = cmp.Or(v.ScaleSet, s.set)
	s.userData = cmp.Or(v.UserData, s.userData)
	m := &machine{name: s.id.name, vmID: v.VMID, sources: v.Sources, on: s.id.key(), limits: newLimits()}
	if m.vmID == "" {
		m.vmID = guid("vm", c.which(v.ID, s.id))
	}
	s.machines = []*machine{m}
	return nil
}

func (c *cloud) applyScaleSet(v ScaleSet) error {
	s, err := c.applyScope(v.ID, kindVMSS, v.Location, v.Identity)
	if err != nil {
		return err
	}
	if err := s.orchestrate(v); err != nil {
		return err
	}
	s.userData, s.uniqueID = cmp.Or(v.UserData, s.userData), cmp.Or(v.UniqueID, s.uniqueID)
	for _, i := range v.Instances {
		if i.InstanceID == "" || i.Name == "" {
			return fmt.Errorf("instance %q needs an instanceId and a name", i.InstanceID+i.Name)
		}
		m := &machine{name: i.Name, instanceID: i.InstanceID, vmID: i.VMID, sources: i.Sources, on: s.id.key(), limits: newLimits()}
		if m.vmID == "" {
			m.vmID = guid("vm", c.which(v.ID, s.id)+"/"+i.InstanceID)
		}
		s.machines = slices.DeleteFunc(s.machines, func(o *machine) bool { return o.instanceID == i.InstanceID })
		s.machines = append(s.machines, m)
	}
	return nil
}

// applyScope makes or changes the VM or scale set itself. Identities that are
// written here are there at once.
func (c *cloud) applyScope(rawID, kind, location string, a *Assigned) (*scope, error) {
	id, ok := parseResource(rawID, kind)
	if !ok {
		return nil, fmt.Errorf("want the id of a %s: /subscriptions/S/resourceGroups/G/providers/…", kind)
	}
	s, ok := c.scopes[id.key()]
	if !ok {
		s = &scope{id: id, location: defaultLocation, provisioning: "Succeeded"}
		c.scopes[id.key()] = s
	}
	s.etag++
	if location != "" {
		s.location = location
	}
	if a != nil {
		next, err := c.assigned(*a)
		if err != nil {
			return nil, err
		}
		s.goal, s.seen, s.orphans = next, next, nil
	}
	return s, nil
}

// assigned reads the identities of a VM or scale set as state writes them.
func (c *cloud) assigned(a Assigned) (assignment, error) {
	kind := identityType{user: len(a.UserAssigned) > 0}
	if a.Type != "" {
		var ok bool
		if kind, ok = parseIdentityType(a.Type); !ok || kind.user != (len(a.UserAssigned) > 0) {
			return assignment{}, fmt.Errorf("identity type %q does not go with %d user-assigned identities", a.Type, len(a.UserAssigned))
		}
	}
	next := assignment{system: kind.system, user: map[string]string{}}
	for _, raw := range a.UserAssigned {
		id, ok := parseResource(raw, kindIdentity)
		if _, known := c.identities[id.key()]; !ok || !known {
			return assignment{}, fmt.Errorf("identity %q is not among the identities of the state", raw)
		}
		next.user[id.key()] = id.String()
	}
	return next, nil
}

// check refuses machines that cannot be told apart.
func (c *cloud) check() error {
	names, sources := map[string]string{}, map[netip.Prefix]string{}
	for m := range c.machines() {
		name := strings.ToLower(m.name)
		if other, ok := names[name]; ok {
			return fmt.Errorf("two machines are named %q: of %s and %s", m.name, other, m.on)
		}
		names[name] = m.on
		for _, p := range m.sources {
			if other, ok := sources[p.Masked()]; ok {
				return fmt.Errorf("machines %s and %s have the same source %s", other, m.name, p)
			}
			sources[p.Masked()] = m.name
		}
	}
	return nil
}

// machines yields every machine, in no particular order.
func (c *cloud) machines() func(func(*machine) bool) {
	return func(yield func(*machine) bool) {
		for _, s := range c.scopes {
			for _, m := range s.machines {
				if !yield(m) {
					return
				}
			}
		}
	}
}

// machineNamed finds a machine by name, without regard to case.
func (c *cloud) machineNamed(name string) *machine {
	for m := range c.machines() {
		if strings.EqualFold(m.name, name) {
			return m
		}
	}
	return nil
}

// machineAt finds the machine with the narrowest source that holds a.
func (c *cloud) machineAt(a netip.Addr) *machine {
	var best *machine
	bits := -1
	for m := range c.machines() {
		for _, p := range m.sources {
			if p.Contains(a) && p.Bits() > bits {
				best, bits = m, p.Bits()
			}
		}
	}
	return best
}
