package assign

import (
	"fmt"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
)

// Advance is a binding whose identity is to be on the scope before any pod.
type Advance struct {
	Binding *v1.AzureIdentityBinding
	// ID is the ARM id of the identity, empty where there is none to attach, and Why
	// says what to write then.
	ID, Why string
	// There says that it is known to be attached.
	There bool
}

// inAdvance takes note of what is needed before any pod.
func (p *Plan) inAdvance(s Snapshot) {
	identities := make(map[objectName]*v1.AzureIdentity, len(s.Identities))
	for _, i := range s.Identities {
		identities[nameOf(i)] = i
	}
	for _, b := range s.PreAssigned {
		a := Advance{Binding: b}
		name := b.Spec.Canonical().AzureIdentity
		if i, ok := identities[objectName{b.Namespace, name}]; ok {
			id := identity.FromAPI(i)
			attach, why := attachable(id)
			switch {
			case why != "":
				a.Why = why
			case attach:
				a.ID, a.There = id.ResourceID, !s.Doubted && s.Record[id.ResourceID].there()
				p.need(Owner{Binding: true, Namespace: b.Namespace, Name: b.Name}, id.ResourceID)
			default:
				a.Why = fmt.Sprintf("AzureIdentity %s is none that is put on machines: write spec.type 0 and spec.resourceID, or take the annotation off", name)
			}
		} else {
			a.Why = fmt.Sprintf("there is no AzureIdentity %s in namespace %s", name, b.Namespace)
		}
		p.Advance = append(p.Advance, a)
	}
}
