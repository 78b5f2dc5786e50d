package assign_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/identity"
)

const prefix = "/subscriptions/s/resourcegroups/g/providers/microsoft.managedidentity/userassignedidentities/"

func azureIdentity(namespace, name string, edit ...func(*v1.AzureIdentity)) *v1.AzureIdentity {
	o := &v1.AzureIdentity{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-of-" + name)},
		Spec:       v1.AzureIdentitySpec{ResourceID: prefix + name, ClientID: "client-of-" + name},
	}
	for _, e := range edit {
		e(o)
	}
	return o
}

func binding(namespace, name, id, selector string) *v1.AzureIdentityBinding {
	return &v1.AzureIdentityBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-of-" + name)},
		Spec:       v1.AzureIdentityBindingSpec{AzureIdentity: id, Selector: selector},
	}
}

func pod(namespace, name, uid string) identity.Pod {
	return identity.Pod{Namespace: namespace, Name: name, UID: uid, Node: "node-0", Selector: "app"}
}

// world is a snapshot of one pod with one identity.
func world() assign.Snapshot {
	return assign.Snapshot{
		Pods:       []identity.Pod{pod("ns", "web", "1")},
		Bindings:   []*v1.AzureIdentityBinding{binding("ns", "b", "reader", "app")},
		Identities: []*v1.AzureIdentity{azureIdentity("ns", "reader")},
	}
}

// made is what there is after the plan of s was carried out.
func made(s assign.Snapshot) []*v1.AzureAssignedIdentity {
	return apply(s, planOf(s)).Assigned
}

// whole is a plan for all pods of a scope and its machine.
type whole struct {
	assign.Plan
	assign.Changes
}

// now is when tests take place.
var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// planOf plans for all that is in a snapshot, where nothing is kept warm.
func planOf(s assign.Snapshot) whole {
	p := s.Plan()
	m := assign.NewMachine(s.Record, now)
	for o, ids := range p.Needs {
		m.Need(o, ids, now)
	}
	return whole{p, m.Plan(now, 0)}
}

func (w whole) nothing() bool {
	return w.Empty() && len(w.Attach)+len(w.Detach)+len(w.Forget)+len(w.Waiting) == 0
}

// summary is a plan by names and states.
type summary struct {
	Create, Update, Mark, Delete map[string]v1.AssignedState
	Attach, Detach, Forget       []string
	Waiting, Invalid             []string
}

func summarize(p whole) summary {
	by := func(list []*v1.AzureAssignedIdentity) map[string]v1.AssignedState {
		if len(list) == 0 {
			return nil
		}
		out := make(map[string]v1.AssignedState, len(list))
		for _, o := range list {
			out[o.Namespace+"/"+o.Name] = o.Status.Status
		}
		return out
	}
	short := func(ids []string) []string {
		var out []string
		for _, id := range ids {
			out = append(out, strings.TrimPrefix(id, prefix))
		}
		return out
	}
	s := summary{
		Create: by(p.Create), Update: by(p.Update), Mark: by(p.Mark), Delete: by(p.Delete),
		Attach: short(p.Attach), Detach: short(p.Detach), Forget: short(p.Forget),
	}
	for _, o := range p.Waiting {
		s.Waiting = append(s.Waiting, o.Name)
	}
	for _, i := range p.Invalid {
		s.Invalid = append(s.Invalid, i.Object.Name+": "+i.Why)
	}
	return s
}

func TestPlan(t *testing.T) {
	type states = map[string]v1.AssignedState
	const name = "ns/web-ns-reader"
	attached := assign.Record{prefix + "reader": assign.Attached}
	// legacy is what AAD Pod Identity leaves behind.
	legacy := func(namespace string) *v1.AzureAssignedIdentity {
		o := made(world())[0].DeepCopy()
		o.Namespace, o.Spec.PodUID, o.Finalizers = namespace, "", []string{assign.LegacyFinalizer, "others/finalizer"}
		o.Status.Status = v1.Assigned
		return o
	}
	for sentence, test := range map[string]struct {
		change func(*assign.Snapshot)
		want   summary
	}{
		"a new pod: create the object and attach the identity": {
			want: summary{Create: states{name: v1.Created}, Attach: []string{"reader"}, Waiting: []string{"web-ns-reader"}},
		},
		"the identity is attached already: Assigned with one write": {
			change: func(s *assign.Snapshot) { s.Record = attached },
			want:   summary{Create: states{name: v1.Assigned}},
		},
		"the record is in doubt: nothing becomes Assigned by it": {
			change: func(s *assign.Snapshot) { s.Record, s.Doubted = attached, true },
			want:   summary{Create: states{name: v1.Created}, Waiting: []string{"web-ns-reader"}},
		},
		"the record is in doubt: what is Assigned stays": {
			change: func(s *assign.Snapshot) { s.Record = attached; s.Assigned = made(*s); s.Doubted = true },
		},
		"the record is in doubt: another pod of the same name has to wait": {
			change: func(s *assign.Snapshot) {
				s.Record = attached
				s.Assigned = made(*s)
				s.Pods[0].UID, s.Doubted = "2", true
			},
			want: summary{Update: states{name: v1.Created}, Waiting: []string{"web-ns-reader"}},
		},
		"the identity was found there: Assigned with one write": {
			change: func(s *assign.Snapshot) { s.Record = assign.Record{prefix + "reader": assign.Found} },
			want:   summary{Create: states{name: v1.Assigned}},
		},
		"the PATCH is done: only the state changes": {
			change: func(s *assign.Snapshot) { s.Assigned, s.Record = made(*s), attached },
			want:   summary{Mark: states{name: v1.Assigned}},
		},
		"an attachment that may have happened is not relied on": {
			change: func(s *assign.Snapshot) {
				s.Assigned, s.Record = made(*s), assign.Record{prefix + "reader": assign.Attaching}
			},
			want: summary{Attach: []string{"reader"}, Waiting: []string{"web-ns-reader"}},
		},
		"a detachment that may have happened is not relied on": {
			change: func(s *assign.Snapshot) { s.Record = assign.Record{prefix + "reader": assign.Detaching} },
			want:   summary{Create: states{name: v1.Created}, Attach: []string{"reader"}, Waiting: []string{"web-ns-reader"}},
		},
		"the last pod has gone: delete the object and detach the identity": {
			change: func(s *assign.Snapshot) { s.Assigned, s.Record, s.Pods = made(*s), attached, nil },
			want:   summary{Delete: states{name: v1.Created}, Detach: []string{"reader"}},
		},
		"the last pod has gone, and the identity is not ours: forget it": {
			change: func(s *assign.Snapshot) { s.Record, s.Pods = assign.Record{prefix + "reader": assign.Found}, nil },
			want:   summary{Forget: []string{"reader"}},
		},
		"one of two pods has gone: the identity stays": {
			change: func(s *assign.Snapshot) {
				s.Record = attached
				s.Pods = append(s.Pods, pod("ns", "other", "2"))
				s.Assigned = made(*s)
				s.Pods = s.Pods[:1]
			},
			want: summary{Delete: states{"ns/other-ns-reader": v1.Assigned}},
		},
		"a pod of the same name is another pod: replace the object": {
			change: func(s *assign.Snapshot) { s.Record = attached; s.Assigned = made(*s); s.Pods[0].UID = "2" },
			want:   summary{Update: states{name: v1.Assigned}},
		},
		"the pod has come back on another node: replace the object": {
			change: func(s *assign.Snapshot) {
				s.Record = attached
				s.Assigned = made(*s)
				s.Pods[0].UID, s.Pods[0].Node = "2", "node-1"
			},
			want: summary{Update: states{name: v1.Assigned}},
		},
		"the client id was corrected: the object follows and keeps its state": {
			change: func(s *assign.Snapshot) {
				s.Record = attached
				s.Assigned = made(*s)
				s.Identities[0].Spec.ClientID = "another"
			},
			want: summary{Update: states{name: v1.Assigned}},
		},
		"an edit that grants nothing else changes nothing": {
			change: func(s *assign.Snapshot) {
				s.Record = attached
				s.Assigned = made(*s)
				id := s.Identities[0]
				id.Labels, id.ResourceVersion, id.Generation = map[string]string{"a": "b"}, "99", 7
				id.Spec.OldResourceID, id.Spec.ResourceID = id.Spec.ResourceID, "" // another spelling of the same
				s.Bindings[0].Annotations = map[string]string{"a": "b"}
			},
		},
		"another identity that is not there yet: the object and the one before stay until it is": {
			change: func(s *assign.Snapshot) {
				s.Record = attached
				s.Assigned = made(*s)
				s.Identities[0].Spec.ResourceID = prefix + "writer"
			},
			want: summary{Attach: []string{"writer"}, Waiting: []string{"web-ns-reader"}},
		},
		"another identity that is there now: one update, and the one before goes": {
			change: func(s *assign.Snapshot) {
				s.Record = attached
				s.Assigned = made(*s)
				s.Identities[0].Spec.ResourceID = prefix + "writer"
				s.Record = assign.Record{prefix + "reader": assign.Attached, prefix + "writer": assign.Attached}
			},
			want: summary{Update: states{name: v1.Assigned}, Detach: []string{"reader"}},
		},
		"another identity, and the one before is gone from the machine: nothing stands": {
			change: func(s *assign.Snapshot) {
				s.Record = attached
				s.Assigned = made(*s)
				s.Identities[0].Spec.ResourceID = prefix + "writer"
				s.Record = nil
			},
			want: summary{Update: states{name: v1.Created}, Attach: []string{"writer"}, Waiting: []string{"web-ns-reader"}},
		},
		"another identity for another pod of the same name: nothing stands": {
			change: func(s *assign.Snapshot) {
				s.Record = attached
				s.Assigned = made(*s)
				s.Identities[0].Spec.ResourceID = prefix + "writer"
				s.Pods[0].UID = "2"
			},
			want: summary{Update: states{name: v1.Created}, Attach: []string{"writer"}, Detach: []string{"reader"}, Waiting: []string{"web-ns-reader"}},
		},
		"a service principal that becomes a managed identity stands until that is there": {
			change: func(s *assign.Snapshot) {
				s.Identities[0].Spec.Type = new(v1.ServicePrincipal)
				s.Assigned = made(*s)
				s.Identities[0].Spec.Type = nil
			},
			want: summary{Attach: []string{"reader"}, Waiting: []string{"web-ns-reader"}},
		},
		"a service principal needs no machine": {
			change: func(s *assign.Snapshot) { s.Identities[0].Spec.Type = new(v1.ServicePrincipal) },
			want:   summary{Create: states{name: v1.Assigned}},
		},
		"an identity of an unknown type is never Assigned": {
			change: func(s *assign.Snapshot) { s.Identities[0].Spec.Type = new(v1.IdentityType(7)) },
			want: summary{
				Create:  states{name: v1.Created},
				Invalid: []string{"web-ns-reader: spec.type 7 of the AzureIdentity is unknown: write 0, 1 or 2"},
			},
		},
		"a resourceID that is none is not attached, and stops no other": {
			change: func(s *assign.Snapshot) {
				s.Identities = append(s.Identities, azureIdentity("ns", "bad", func(o *v1.AzureIdentity) {
					o.Spec.ResourceID = "/subscriptions/s/resourcegroups/g/providers/Microsoft.Compute/virtualMachines/reader"
				}))
				s.Bindings = append(s.Bindings, binding("ns", "c", "bad", "app"))
			},
			want: summary{
				Create:  states{name: v1.Created, "ns/web-ns-bad": v1.Created},
				Attach:  []string{"reader"},
				Waiting: []string{"web-ns-reader"},
				Invalid: []string{"web-ns-bad: spec.resourceID of the AzureIdentity is not the id of a user-assigned managed identity: write /subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME (az identity show --query id)"},
			},
		},
		"a resourceID with more than names in it is not attached, and stops no other": {
			change: func(s *assign.Snapshot) {
				for i, id := range []string{
					"/subscriptions/s/resourcegroups/g/providers/microsoft.managedidentity/userassignedidentities/$(id)",
					"/subscriptions/s/resourcegroups/g/providers/microsoft.managedidentity/userassignedidentities/reader.x",
					"/subscriptions/s/resourcegroups/g/providers/microsoft.managedidentity/userassignedidentities/reader;x",
					"/subscriptions/s/resourcegroups/g;id/providers/microsoft.managedidentity/userassignedidentities/reader",
					"/subscriptions/s/resourcegroups/../providers/microsoft.managedidentity/userassignedidentities/reader",
					"/subscriptions/`id`/resourcegroups/g/providers/microsoft.managedidentity/userassignedidentities/reader",
					"/subscriptions/s/resourcegroups/g/providers/microsoft.managedidentity/userassignedidentities/reader\n",
				} {
					name := fmt.Sprint("bad-", i)
					s.Identities = append(s.Identities, azureIdentity("ns", name, func(o *v1.AzureIdentity) { o.Spec.ResourceID = id }))
					s.PreAssigned = append(s.PreAssigned, binding("ns", name, name, "another"))
				}
			},
			want: summary{Create: states{name: v1.Created}, Attach: []string{"reader"}, Waiting: []string{"web-ns-reader"}},
		},
		"an object that does not say its scope is corrected": {
			change: func(s *assign.Snapshot) {
				s.Record = attached
				s.Assigned = made(*s)
				s.Scope = assign.Scope{Kind: assign.VM, Subscription: "s", ResourceGroup: "g", Name: "n"}
			},
			want: summary{Update: states{name: v1.Assigned}},
		},
		"a managed identity without resourceID must be on the machine already": {
			change: func(s *assign.Snapshot) { s.Identities[0].Spec.ResourceID = "" },
			want:   summary{Create: states{name: v1.Assigned}},
		},
		"a pod of another namespace gets nothing": {
			change: func(s *assign.Snapshot) { s.Pods[0].Namespace = "elsewhere" },
		},
		"a pod of another namespace gets it where that is allowed, under a name with a hash": {
			change: func(s *assign.Snapshot) { s.Pods[0].Namespace, s.Rules.AcrossNamespaces = "elsewhere", true },
			want: summary{
				Create:  states{"elsewhere/web-elsewhere-reader-f1ac031cde": v1.Created},
				Attach:  []string{"reader"},
				Waiting: []string{"web-elsewhere-reader-f1ac031cde"},
			},
		},
		"a pod without a label is bound by the binding that its namespace names": {
			change: func(s *assign.Snapshot) {
				s.Pods[0].Selector, s.Pods[0].NamespaceBinding = "", s.Bindings[0].Name
			},
			want: summary{Create: states{name: v1.Created}, Attach: []string{"reader"}, Waiting: []string{"web-ns-reader"}},
		},
		"a namespace that names a binding of another gives its pods nothing": {
			change: func(s *assign.Snapshot) {
				s.Pods[0].Selector, s.Pods[0].NamespaceBinding = "", s.Bindings[0].Name
				s.Pods[0].Namespace, s.Rules.AcrossNamespaces = "elsewhere", true
			},
		},
		"an object of AAD Pod Identity in our place is taken over": {
			change: func(s *assign.Snapshot) { s.Record = attached; s.Assigned = []*v1.AzureAssignedIdentity{legacy("ns")} },
			want:   summary{Update: states{name: v1.Assigned}},
		},
		"an object of AAD Pod Identity in our place stands until the identity is known to be there": {
			change: func(s *assign.Snapshot) { s.Assigned = []*v1.AzureAssignedIdentity{legacy("ns")} },
			want:   summary{Attach: []string{"reader"}, Waiting: []string{"web-ns-reader"}},
		},
		"so does one that has no state, which says the same": {
			change: func(s *assign.Snapshot) {
				o := legacy("ns")
				o.Status.Status = ""
				s.Assigned = []*v1.AzureAssignedIdentity{o}
			},
			want: summary{Attach: []string{"reader"}, Waiting: []string{"web-ns-reader"}},
		},
		"an object of AAD Pod Identity in our place, for another identity, does not stand": {
			change: func(s *assign.Snapshot) {
				s.Assigned = []*v1.AzureAssignedIdentity{legacy("ns")}
				s.Identities[0].Spec.ResourceID = prefix + "writer"
			},
			want: summary{Update: states{name: v1.Created}, Attach: []string{"writer"}, Waiting: []string{"web-ns-reader"}},
		},
		"an object of AAD Pod Identity in our place, for another node, does not stand": {
			change: func(s *assign.Snapshot) {
				s.Assigned = []*v1.AzureAssignedIdentity{legacy("ns")}
				s.Pods[0].Node = "node-1"
			},
			want: summary{Update: states{name: v1.Created}, Attach: []string{"reader"}, Waiting: []string{"web-ns-reader"}},
		},
		"an object of AAD Pod Identity elsewhere stands in until ours is Assigned": {
			change: func(s *assign.Snapshot) { s.Assigned = []*v1.AzureAssignedIdentity{legacy("default")} },
			want:   summary{Create: states{name: v1.Created}, Attach: []string{"reader"}, Waiting: []string{"web-ns-reader"}},
		},
		"an object of AAD Pod Identity elsewhere goes when ours is Assigned": {
			change: func(s *assign.Snapshot) {
				s.Record = attached
				s.Assigned = []*v1.AzureAssignedIdentity{legacy("default")}
			},
			want: summary{Create: states{name: v1.Assigned}, Delete: states{"default/web-ns-reader": v1.Assigned}},
		},
		"an object on its way out goes first": {
			change: func(s *assign.Snapshot) {
				o := legacy("ns")
				o.DeletionTimestamp = new(metav1.Now())
				s.Record, s.Assigned = attached, []*v1.AzureAssignedIdentity{o}
			},
			want: summary{Delete: states{name: v1.Assigned}},
		},
		"an object on its way out that others hold up is waited for": {
			change: func(s *assign.Snapshot) {
				o := legacy("ns")
				o.DeletionTimestamp, o.Finalizers = new(metav1.Now()), []string{"others/finalizer"}
				s.Record, s.Assigned = attached, []*v1.AzureAssignedIdentity{o}
			},
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			s := world()
			if test.change != nil {
				test.change(&s)
			}
			if diff := cmp.Diff(test.want, summarize(planOf(s))); diff != "" {
				t.Errorf("Plan() (-want +got):\n%s", diff)
			}
		})
	}
}
