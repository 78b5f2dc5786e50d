package azemu

import (
	"fmt"
	"strings"
)

// modelOf is the identity that a VM is to have: its own or, of one that is new in
// a flexible scale set, that of the scale set.
func (c *cloud) modelOf(v VM) (*Assigned, error) {
	if v.ScaleSet == "" {
		return v.Identity, nil
	}
	id, ok := parseResource(v.ScaleSet, kindVMSS)
	set, known := c.scopes[id.key()]
	if !ok || !known || !set.flexible {
		return nil, fmt.Errorf("%q is no flexible scale set of the state", v.ScaleSet)
	}
	vm, _ := parseResource(v.ID, kindVM)
	if _, exists := c.scopes[vm.key()]; exists || v.Identity != nil {
		return v.Identity, nil
	}
	return set.goal.state(), nil
}

// orchestrate makes s uniform or flexible, as v says.
func (s *scope) orchestrate(v ScaleSet) error {
	switch {
	case v.OrchestrationMode == "" || v.OrchestrationMode == Uniform && !s.flexible:
	case v.OrchestrationMode != Flexible:
		return fmt.Errorf("orchestrationMode is %s or %s, and does not change", Uniform, Flexible)
	case len(s.machines) > 0:
		return fmt.Errorf("it has instances, and cannot be %s", Flexible)
	default:
		s.flexible = true
	}
	if s.flexible && len(v.Instances) > 0 {
		return fmt.Errorf("the instances of a %s scale set are virtual machines", Flexible)
	}
	if s.flexible && s.goal.system {
		return fmt.Errorf("a %s scale set has no system-assigned identity", Flexible)
	}
	return nil
}

// suits refuses a system-assigned identity of a flexible scale set.
func (s *scope) suits(next assignment) error {
	if s.flexible && next.system {
		return invalid("BadRequest", "The identity type 'SystemAssigned' is not supported for the scale set '%s' with orchestrationMode '%s'.", s.id.name, Flexible)
	}
	return nil
}

// capacity is how many machines are in a scale set.
func (c *cloud) capacity(s *scope) int {
	n := len(s.machines)
	for _, vm := range c.scopes {
		if vm.set != "" && strings.EqualFold(vm.set, s.id.String()) {
			n++
		}
	}
	return n
}
