package azemu

import (
	"maps"
	"slices"
	"strconv"
)

// state describes the whole cloud, sorted by id.
func (c *cloud) state() State {
	out := State{Tenant: c.tenant}
	for _, k := range slices.Sorted(maps.Keys(c.tenants)) {
		out.Tenants = append(out.Tenants, c.tenants[k])
	}
	for _, k := range slices.Sorted(maps.Keys(c.identities)) {
		out.Identities = append(out.Identities, c.identities[k])
	}
	for _, k := range slices.Sorted(maps.Keys(c.apps)) {
		a := c.apps[k]
		a.Secrets = nil
		out.Apps = append(out.Apps, a)
	}
	for _, k := range slices.Sorted(maps.Keys(c.roleDefinitions)) {
		out.RoleDefinitions = append(out.RoleDefinitions, c.roleDefinitions[k])
	}
	out.RoleAssignments = c.assignmentsSorted()
	for _, key := range slices.Sorted(maps.Keys(c.groups)) {
		out.Groups = append(out.Groups, c.groups[key])
	}
	for _, k := range slices.Sorted(maps.Keys(c.scopes)) {
		s := c.scopes[k]
		if s.id.resourceType() == kindVM {
			m := s.machines[0]
			out.VMs = append(out.VMs, VM{
				ID: s.id.String(), Location: s.location, VMID: m.vmID, Identity: s.goal.state(), Sources: m.sources,
				UserData: s.userData, ScaleSet: s.set, Status: s.status(),
			})
			continue
		}
		set := ScaleSet{ID: s.id.String(), Location: s.location, Identity: s.goal.state(), UserData: s.userData, UniqueID: s.uniqueID, Status: s.status()}
		if s.flexible {
			set.OrchestrationMode = Flexible
		}
		for _, m := range s.machines {
			set.Instances = append(set.Instances, Instance{InstanceID: m.instanceID, Name: m.name, VMID: m.vmID, Sources: m.sources})
		}
		out.ScaleSets = append(out.ScaleSets, set)
	}
	return out
}

func (s *scope) status() Status {
	return Status{ETag: s.quotedETag(), ProvisioningState: s.provisioning, Visible: s.visible()}
}

// quotedETag is the ETag as Azure writes it: a small number in quotes.
func (s *scope) quotedETag() string { return strconv.Quote(strconv.Itoa(s.etag)) }
