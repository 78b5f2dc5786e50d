package assign_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/identity"
)

// Few names, so that all of them meet; some that make joined names ambiguous.
var (
	namespaces = []string{"a", "b", "default"}
	names      = []string{"x", "y", "x-a", "a-y", "x-default"}
	ownerships = []assign.Ownership{assign.Attaching, assign.Attached, assign.Detaching, assign.Found}
)

// drawSnapshot makes a snapshot of anything. What is assigned comes from what
// was once planned for another snapshot, and from AAD Pod Identity.
func drawSnapshot(t *rapid.T) assign.Snapshot {
	s := drawWishes(t, "now")
	before := drawWishes(t, "before")
	before.Record = drawRecord(t, "before")
	s.Assigned = apply(before, planOf(before)).Assigned
	for _, o := range s.Assigned {
		if rapid.Bool().Draw(t, "legacy") {
			o.Spec.PodUID = ""
			o.Finalizers = []string{assign.LegacyFinalizer}
			if rapid.Bool().Draw(t, "in default") && !slices.ContainsFunc(s.Assigned, func(x *v1.AzureAssignedIdentity) bool {
				return x.Namespace == "default" && x.Name == o.Name
			}) {
				o.Namespace = "default"
			}
		}
	}
	s.Record = drawRecord(t, "now")
	return s
}

func drawWishes(t *rapid.T, label string) assign.Snapshot {
	var s assign.Snapshot
	s.Rules.AcrossNamespaces = rapid.Bool().Draw(t, label+": across")
	some := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) [2]string {
		return [2]string{rapid.SampledFrom(namespaces).Draw(t, "namespace"), rapid.SampledFrom(names).Draw(t, "name")}
	}), 0, 5, rapid.ID)
	for _, n := range some.Draw(t, label+": pods") {
		s.Pods = append(s.Pods, identity.Pod{
			Namespace: n[0], Name: n[1],
			UID:      fmt.Sprintf("%s-%s-%d", n[0], n[1], rapid.IntRange(0, 1).Draw(t, "uid")),
			Node:     rapid.SampledFrom([]string{"node-0", "node-1"}).Draw(t, "node"),
			Selector: rapid.SampledFrom([]string{"", "p", "q"}).Draw(t, "label"),
		})
	}
	for _, n := range some.Draw(t, label+": identities") {
		o := azureIdentity(n[0], n[1])
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0:
			o.Spec.Type = new(v1.ServicePrincipal)
		case 1:
			o.Spec.ResourceID = ""
		default:
			o.Spec.ResourceID = prefix + n[0] + "_" + n[1]
		}
		s.Identities = append(s.Identities, o)
	}
	for _, n := range some.Draw(t, label+": bindings") {
		s.Bindings = append(s.Bindings, binding(n[0], n[1],
			rapid.SampledFrom(names).Draw(t, "identity"), rapid.SampledFrom([]string{"", "p", "q"}).Draw(t, "selector")))
	}
	return s
}

func drawRecord(t *rapid.T, label string) assign.Record {
	r := assign.Record{}
	for _, ns := range namespaces {
		for _, n := range names {
			if rapid.Bool().Draw(t, label+": recorded") {
				r[prefix+ns+"."+n] = rapid.SampledFrom(ownerships).Draw(t, "ownership")
			}
		}
	}
	return r
}

// apply carries out a plan, as the API server and Azure would.
func apply(s assign.Snapshot, p whole) assign.Snapshot {
	objects := make(map[string]*v1.AzureAssignedIdentity)
	key := func(o *v1.AzureAssignedIdentity) string { return o.Namespace + "/" + o.Name }
	for _, o := range s.Assigned {
		objects[key(o)] = o.DeepCopy()
	}
	for _, o := range p.Delete {
		delete(objects, key(o))
	}
	for _, o := range slices.Concat(p.Create, p.Update) {
		objects[key(o)] = o.DeepCopy()
	}
	for _, o := range p.Mark {
		objects[key(o)].Status.Status = o.Status.Status
	}
	s.Assigned = nil
	for _, k := range slices.Sorted(maps.Keys(objects)) {
		s.Assigned = append(s.Assigned, objects[k])
	}
	present := make(map[string]bool)
	for id, o := range s.Record {
		present[id] = o == assign.Attached || o == assign.Found || o == assign.Detaching
	}
	record, add, remove := s.Record.Intend(present, true, p.Attach, p.Detach)
	s.Record = record.Done(slices.Concat(add, remove)).Without(p.Forget)
	return s
}

func TestAPlanThatWasCarriedOutLeavesNothingToDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t)
		// Once for what is written before the PATCH, once for what comes of it.
		after := apply(s, planOf(s))
		after = apply(after, planOf(after))
		if p := planOf(after); !p.nothing() {
			t.Fatalf("still to do:\n%s", cmp.Diff(summary{}, summarize(p)))
		}
	})
}

func TestNobodyElsesIdentityIsDetached(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t)
		p := planOf(s)
		for _, id := range p.Detach {
			if o, ok := s.Record[id]; !ok || o == assign.Found {
				t.Fatalf("%s, which is %q, is to be detached", id, o)
			}
			if slices.Contains(p.Attach, id) {
				t.Fatalf("%s is to be attached and detached", id)
			}
		}
	})
}

func TestNobodyGetsAnIdentityOfAnotherNamespace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t)
		s.Rules.AcrossNamespaces = false
		p := planOf(s)
		for _, o := range slices.Concat(p.Create, p.Update, p.Mark) {
			id := o.Spec.AzureIdentityRef
			if o.Namespace != o.Spec.PodNamespace || id.Namespace != o.Spec.PodNamespace || o.Spec.AzureBindingRef.Namespace != o.Spec.PodNamespace {
				t.Fatalf("%s/%s is for a pod of %s and an identity of %s", o.Namespace, o.Name, o.Spec.PodNamespace, id.Namespace)
			}
		}
	})
}

func TestWhatIsAttachedIsWhatIsNeeded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t)
		after := apply(s, planOf(s))
		needed := make(map[string]bool)
		for _, o := range apply(after, planOf(after)).Assigned {
			spec := o.Spec.AzureIdentityRef.Spec
			if o.Status.Status != v1.Assigned {
				t.Fatalf("%s is %s", o.Name, o.Status.Status)
			}
			if *spec.Type == v1.UserAssignedMSI && spec.ResourceID != "" {
				needed[strings.ToLower(spec.ResourceID)] = true
			}
		}
		if diff := cmp.Diff(slices.Sorted(maps.Keys(needed)), slices.Sorted(maps.Keys(after.Record)), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("attached (-needed +recorded):\n%s", diff)
		}
	})
}

func TestPlanChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t)
		before := make([]*v1.AzureAssignedIdentity, len(s.Assigned))
		for i, o := range s.Assigned {
			before[i] = o.DeepCopy()
		}
		record := maps.Clone(s.Record)
		first := planOf(s)
		if diff := cmp.Diff(before, s.Assigned, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("the snapshot's objects changed:\n%s", diff)
		}
		if diff := cmp.Diff(record, s.Record); diff != "" {
			t.Fatalf("the snapshot's record changed:\n%s", diff)
		}
		if diff := cmp.Diff(first, planOf(s)); diff != "" {
			t.Fatalf("another plan for the same snapshot:\n%s", diff)
		}
	})
}
