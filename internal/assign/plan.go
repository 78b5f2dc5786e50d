// Package assign decides which AzureAssignedIdentities there should be on one
// VM or scale set, and which managed identities should be attached to it. It is
// pure: it takes values, returns values, and knows no client, clock or logger.
package assign

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
)

// Snapshot is everything that a Plan for some pods of one scope is made from, be
// it one pod or all. Plan changes none of it.
type Snapshot struct {
	// Scope is what the plan is for.
	Scope Scope
	// Pods are those of the pods in question that are on nodes of the scope and
	// have not ended.
	Pods []identity.Pod
	// Bindings are those that any of the pods could match; more do no harm.
	Bindings []*v1.AzureIdentityBinding
	// Identities are those that the bindings name; more do no harm.
	Identities []*v1.AzureIdentity
	// PreAssigned are the bindings in question whose identity is to be on the scope,
	// pods or not.
	PreAssigned []*v1.AzureIdentityBinding
	// Assigned are the objects for the pods in question: those for nodes of the
	// scope, and those for Pods wherever they say they are.
	Assigned []*v1.AzureAssignedIdentity
	// Record is what is known of the identities of the scope. Doubted says that it
	// may be of a machine that is no more: nothing becomes Assigned by it, and what
	// is Assigned stays.
	Record  Record
	Doubted bool
	// Rules are the operator's choices.
	Rules identity.Rules
}

// Plan is what to do about objects, each list in a fixed order, and what the
// machine has to have for them. Objects in it are new, or copies; those in Delete
// are the snapshot's own. What to do about the machine is for Machine to say,
// which knows the needs of all pods.
type Plan struct {
	// Create are objects to be made.
	Create []*v1.AzureAssignedIdentity
	// Update are objects to be replaced, with the resourceVersion that they
	// replace: something that is granted has changed, or the object of a pod that
	// is gone has the name.
	Update []*v1.AzureAssignedIdentity
	// Mark are objects whose state alone changes.
	Mark []*v1.AzureAssignedIdentity
	// Delete are objects for which there is no reason any more.
	Delete []*v1.AzureAssignedIdentity
	// Needs are the ARM ids of the identities that each pod, and each binding in
	// advance, needs on the machine, in order. Who needs none is not in it.
	Needs map[Owner][]string
	// Waiting are the objects, from any list or none, whose identity is not known
	// to be attached.
	Waiting []*v1.AzureAssignedIdentity
	// Advance are the bindings whose identity is to be there before any pod.
	Advance []Advance
	// Invalid are the objects, from any list or none, whose identity cannot be
	// attached to anything. They stay Created.
	Invalid []Invalid
}

// Invalid is an object that nothing can be done for until its AzureIdentity is
// corrected, and why: a sentence that says what to write.
type Invalid struct {
	Object *v1.AzureAssignedIdentity
	Why    string
}

// Empty reports whether there is nothing to write.
func (p Plan) Empty() bool {
	return len(p.Create)+len(p.Update)+len(p.Mark)+len(p.Delete) == 0
}

// Plan decides.
func (s Snapshot) Plan() Plan {
	p := Plan{Needs: make(map[Owner][]string)}
	existing := make(map[objectName]*v1.AzureAssignedIdentity, len(s.Assigned))
	for _, o := range s.Assigned {
		existing[nameOf(o)] = o
	}
	waiting := make(map[pair]bool)
	for _, w := range s.wanted() {
		if o := p.decide(s, w, existing); o != nil {
			waiting[pairOf(o)] = true
		}
	}
	for _, o := range existing {
		if o.Spec.PodUID == "" && o.DeletionTimestamp == nil && waiting[pairOf(o)] {
			continue // of AAD Pod Identity: stands in until ours is Assigned
		}
		p.remove(o)
	}
	if len(s.PreAssigned) > 0 {
		p.inAdvance(s)
	}
	slices.SortFunc(p.Delete, func(x, y *v1.AzureAssignedIdentity) int {
		return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
	return p
}

// decide is about one pair. It takes the object that has its name off existing,
// and returns the one that waits for the machine, if it does.
func (p *Plan) decide(s Snapshot, w want, existing map[objectName]*v1.AzureAssignedIdentity) *v1.AzureAssignedIdentity {
	id := w.grant.Identity
	attach, why := attachable(id)
	state := v1.Assigned
	if attach {
		p.need(ownerOf(w.pod), id.ResourceID)
	}
	if why != "" || attach && !s.Record[id.ResourceID].there() {
		state = v1.Created
	}
	o := w.object(s.Scope, state)
	old, ok := existing[nameOf(o)]
	delete(existing, nameOf(o))
	if attach && s.Doubted && (!ok || !unchanged(old, o)) {
		state, o.Status.Status = v1.Created, v1.Created
	}
	switch {
	case why != "":
		p.Invalid = append(p.Invalid, Invalid{p.write(o, old, ok), why})
		return nil
	case state == v1.Assigned:
		p.write(o, old, ok)
		return nil
	case ok && s.stands(old, o):
		if before, machine := onMachine(old); machine {
			p.need(ownerOf(w.pod), before)
		}
	default:
		o = p.write(o, old, ok)
	}
	p.Waiting = append(p.Waiting, o)
	return o
}

// stands reports whether old stays as it is, and its identity where it is, until
// the identity of o is attached: it is Assigned to the same pod, of which only the
// identity has been edited; or it is of AAD Pod Identity, for the same pod and
// identity, and says that this is attached, which is not yet known to podid.
func (s Snapshot) stands(old, o *v1.AzureAssignedIdentity) bool {
	if !usable(old) || old.DeletionTimestamp != nil || o.Spec.NodeName != old.Spec.NodeName ||
		old.Spec.AzureIdentityRef == nil || pairOf(old) != pairOf(o) {
		return false
	}
	before, machine := onMachine(old)
	now, _ := onMachine(o)
	switch {
	case old.Spec.PodUID == "":
		return before == now
	case o.Spec.PodUID != old.Spec.PodUID || slices.Contains(old.Finalizers, LegacyFinalizer):
		return false
	default:
		return before != now && (!machine || s.Record[before].there())
	}
}

// unchanged reports whether old says that what o is for is Assigned.
func unchanged(old, o *v1.AzureAssignedIdentity) bool {
	if old.Status.Status != v1.Assigned || old.Spec.PodUID != o.Spec.PodUID || old.Spec.NodeName != o.Spec.NodeName || old.Spec.AzureIdentityRef == nil {
		return false
	}
	before, _ := onMachine(old)
	now, _ := onMachine(o)
	return before == now
}

// onMachine is the identity that has to be on the machine for an object, if any.
func onMachine(o *v1.AzureAssignedIdentity) (id string, needed bool) {
	spec := o.Spec.AzureIdentityRef.Spec.Canonical()
	if *spec.Type != v1.UserAssignedMSI {
		return "", false
	}
	id = strings.ToLower(spec.ResourceID)
	return id, id != ""
}

// need takes note of what an owner needs.
func (p *Plan) need(o Owner, id string) {
	if at, already := slices.BinarySearch(p.Needs[o], id); !already {
		p.Needs[o] = slices.Insert(p.Needs[o], at, id)
	}
}

func ownerOf(pod identity.Pod) Owner { return Owner{Namespace: pod.Namespace, Name: pod.Name} }

// resourceID is the rule of the CRD: the characters that Azure lets such names
// have, and no others, which could be taken for the end of the id, or by a shell for
// a command. Objects from before it was there, or from an API server without it, are
// checked here again.
var resourceID = regexp.MustCompile(`^(?i)/subscriptions/[a-z0-9-]+/resourcegroups/[\p{L}\p{N}_().-]*[\p{L}\p{N}_()-]/providers/microsoft[.]managedidentity/userassignedidentities/[a-z0-9_-]+$`)

// attachable reports whether the identity is one to attach to machines, and why
// it can be of no use at all; "" when it can.
func attachable(id identity.Identity) (attach bool, why string) {
	switch id.Type {
	case v1.UserAssignedMSI:
		if id.ResourceID != "" && !resourceID.MatchString(id.ResourceID) {
			return false, "spec.resourceID of the AzureIdentity is not the id of a user-assigned managed identity: write /subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME (az identity show --query id)"
		}
		return id.ResourceID != "", ""
	case v1.ServicePrincipal, v1.ServicePrincipalCertificate:
		return false, ""
	default:
		return false, fmt.Sprintf("spec.type %d of the AzureIdentity is unknown: write 0, 1 or 2", id.Type)
	}
}

// write puts the object o into the list where it belongs, given the one that
// has its name, and returns the object as it will be.
func (p *Plan) write(o, old *v1.AzureAssignedIdentity, exists bool) *v1.AzureAssignedIdentity {
	switch {
	case !exists:
		p.Create = append(p.Create, o)
	case old.DeletionTimestamp != nil:
		p.remove(old) // it goes first; its going is an event, and then o is made
	case !Same(o, old):
		p.Update = append(p.Update, Replacing(old, o))
	case old.Status.Status != o.Status.Status:
		p.Mark = append(p.Mark, Replacing(old, o))
	default:
		return old
	}
	return o
}

// remove has an object deleted, unless it is on its way already and nothing of
// ours holds it up.
func (p *Plan) remove(o *v1.AzureAssignedIdentity) {
	if o.DeletionTimestamp == nil || slices.Contains(o.Finalizers, LegacyFinalizer) {
		p.Delete = append(p.Delete, o)
	}
}

// want is one pair that there should be an object for.
type want struct {
	pod   identity.Pod
	grant identity.Grant
	// The objects that the grant came from.
	identity *v1.AzureIdentity
	binding  *v1.AzureIdentityBinding
}

// wanted lists the pairs, by pod and then as Match orders them.
func (s Snapshot) wanted() []want {
	identities := make(map[objectName]*v1.AzureIdentity, len(s.Identities))
	for _, i := range s.Identities {
		identities[nameOf(i)] = i
	}
	bindings := make(map[objectName]*v1.AzureIdentityBinding, len(s.Bindings))
	bySelector := make(map[string][]identity.Binding)
	byName := make(map[objectName][]identity.Binding)
	for _, b := range s.Bindings {
		bindings[nameOf(b)] = b
		read := identity.BindingFromAPI(b)
		bySelector[read.Selector] = append(bySelector[read.Selector], read)
		byName[nameOf(b)] = []identity.Binding{read}
	}
	candidates := func(pod identity.Pod) []identity.Binding {
		if pod.Selector == "" {
			return byName[objectName{pod.Namespace, pod.NamespaceBinding}]
		}
		return bySelector[pod.Selector]
	}
	lookup := func(namespace, name string) (identity.Identity, bool) {
		i, ok := identities[objectName{namespace, name}]
		if !ok {
			return identity.Identity{}, false
		}
		return identity.FromAPI(i), true
	}
	pods := slices.SortedFunc(slices.Values(s.Pods), func(x, y identity.Pod) int {
		return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
	var out []want
	for _, pod := range pods {
		for _, g := range identity.Match(pod, candidates(pod), lookup, s.Rules) {
			out = append(out, want{
				pod: pod, grant: g,
				identity: identities[objectName{g.Identity.Namespace, g.Identity.Name}],
				binding:  bindings[objectName{g.Binding.Namespace, g.Binding.Name}],
			})
		}
	}
	return out
}
