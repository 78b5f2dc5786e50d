package controller_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/test/controller/model"
)

// patience is how long it may take until all is as it should be.
const patience = 90 * time.Second

// standing is for how long a difference that a planted bug makes has to be there,
// unchanged, with mics that have heard of all and machines that nobody changes, to
// count as one that stays.
const standing = 10 * time.Second

// settle ends what goes wrong, and waits until the world is as the model wants it.
func (w *world) settle() {
	w.t.Helper()
	w.say("now nothing goes wrong any more")
	w.mu.Lock()
	w.fates = nil
	close(w.calm)
	looks := len(w.behind) > 0
	w.mu.Unlock()
	w.azure.ClearFault(azemu.EndpointOperationEnd)
	w.bury()
	if r := w.leader(); looks && r != nil {
		// The time between two looks for what others changed grows while they change
		// nothing. Who begins to lead begins anew.
		w.say("%s is stopped, so that the next looks at once", r.name)
		w.grant("", 1)
		r.stop()
		<-r.ended
		r.cut()
		w.bury()
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	stands := time.NewTimer(patience)
	defer stands.Stop()
	w.tellAll()
	again := false // looked at when all had been heard
	for before := []string(nil); w.wrongs() == nil; {
		w.bury()
		is, diffs := w.look(ctx)
		switch {
		case ctx.Err() != nil:
			w.fail(fmt.Errorf("after %s it is not as it should be:\n%s", patience, strings.Join(before, "\n")))
		case len(diffs) == 0 && again:
			w.settledOn(is)
			return
		case len(diffs) == 0: // what was under way when it was heard is over with the next
			again = true
			w.tellAll()
		}
		switch now := w.plant.made(diffs); {
		case len(now) == 0:
			stands.Stop()
		case !slices.Equal(now, w.plant.made(before)):
			stands.Reset(standing)
		}
		before = diffs
		select {
		case <-ctx.Done():
		case <-w.stirred:
		case <-stands.C:
			w.fail(fmt.Errorf("for %s it is not as it should be:\n%s", standing, strings.Join(before, "\n")))
		}
	}
}

// notHeard and changing are differences that go by themselves.
const (
	notHeard = "not all mics have heard of all"
	changing = " is being changed"
)

// look compares the world with the model.
func (w *world) look(ctx context.Context) (model.Is, []string) {
	is := model.Is{Machines: map[string]model.Machine{}, Before: w.before}
	var (
		objects    v1.AzureAssignedIdentityList
		identities v1.AzureIdentityList
		bindings   v1.AzureIdentityBindingList
	)
	for _, list := range []client.ObjectList{&objects, &identities, &bindings} {
		if err := w.api.List(ctx, list); err != nil {
			return is, []string{err.Error()}
		}
	}
	for i := range objects.Items {
		is.Objects = append(is.Objects, read(&objects.Items[i]))
	}
	var diffs []string
	meant := model.Is{Objects: is.Objects, Machines: map[string]model.Machine{}, Before: w.before}
	for id, m := range w.shown() {
		is.Machines[id], meant.Machines[id] = machine(m.system, m.has), machine(m.system, m.wanted)
		if m.updating {
			diffs = append(diffs, short(id)+changing)
		}
	}
	for _, id := range w.names.machines {
		if _, exists := is.Machines[id]; !exists && len(w.recorded(id)) > 0 { //nolint:contextcheck // it is the test's own
			diffs = append(diffs, short(id)+" is gone, and mic still has a record of it")
		}
	}
	if !w.heardAll() {
		diffs = append(diffs, notHeard)
	}
	w.mu.Lock()
	if w.flying > 0 {
		diffs = append(diffs, "a mic waits for Azure")
	}
	diffs = slices.Concat(diffs, w.now.Differences(is), w.now.Differences(meant))
	w.mu.Unlock()
	return is, append(diffs, told(is.Objects, identities.Items, bindings.Items)...)
}

func machine(system bool, identities map[string]bool) model.Machine {
	has := map[string]model.Owner{}
	for id := range identities {
		has[id] = model.Podid
	}
	return model.Machine{System: system, Has: has}
}

// read is an AzureAssignedIdentity as the model knows it.
func read(o *v1.AzureAssignedIdentity) model.Object {
	out := model.Object{
		Pod: model.Name{Namespace: o.Spec.PodNamespace, Name: o.Spec.Pod}, PodUID: o.Spec.PodUID, Node: o.Spec.NodeName,
		Machine: o.Annotations["podid.io/scope"], Assigned: o.Status.Status == v1.Assigned,
	}
	if i := o.Spec.AzureIdentityRef; i != nil {
		out.Identity = model.Identity{
			Name: model.Name{Namespace: i.Namespace, Name: i.Name}, UID: string(i.UID), Resource: resourceOf(i.Spec), Client: i.Spec.ClientID,
		}
	}
	if b := o.Spec.AzureBindingRef; b != nil {
		out.Binding, out.BindingUID, out.Selector = model.Name{Namespace: b.Namespace, Name: b.Name}, string(b.UID), b.Spec.Selector
	}
	return out
}

// told are the differences between what users are told in conditions and counts,
// and the objects.
func told(objects []model.Object, identities []v1.AzureIdentity, bindings []v1.AzureIdentityBinding) (diffs []string) {
	pods, waiting, by, now := map[model.Name]int32{}, map[model.Name]bool{}, map[model.Name]int32{}, map[model.Name]string{}
	for i := range identities {
		now[model.Name{Namespace: identities[i].Namespace, Name: identities[i].Name}] = resourceOf(identities[i].Spec)
	}
	for _, o := range objects {
		pods[o.Identity.Name]++
		by[o.Binding]++
		if !o.Assigned || o.Identity.Resource != now[o.Identity.Name] { // what stands is not what is asked for
			waiting[o.Identity.Name] = true
		}
	}
	for i := range identities {
		o := &identities[i]
		name := model.Name{Namespace: o.Namespace, Name: o.Name}
		if o.Status.MatchedPods != pods[name] {
			diffs = append(diffs, fmt.Sprintf("identity %s tells of %d pods, and there are %d", name, o.Status.MatchedPods, pods[name]))
		}
		want := "no condition"
		if pods[name] > 0 && resourceOf(o.Spec) != "" {
			want = string(metav1.ConditionTrue)
			if waiting[name] {
				want = string(metav1.ConditionFalse)
			}
		}
		got := "no condition"
		if c := meta.FindStatusCondition(o.Status.Conditions, v1.ConditionAttached); c != nil {
			got = string(c.Status)
			if c.ObservedGeneration != o.Generation {
				got += " of an earlier generation"
			}
		}
		if got != want {
			diffs = append(diffs, fmt.Sprintf("identity %s is told to be attached: %s, wanted %s", name, got, want))
		}
	}
	for i := range bindings {
		o := &bindings[i]
		if name := (model.Name{Namespace: o.Namespace, Name: o.Name}); o.Status.MatchedPods != by[name] {
			diffs = append(diffs, fmt.Sprintf("binding %s tells of %d pods, and there are %d", name, o.Status.MatchedPods, by[name]))
		}
	}
	return diffs
}

// settledOn takes note that all is as it should be.
func (w *world) settledOn(is model.Is) {
	w.mu.Lock()
	w.count.Bouts++
	over := w.reckon()
	w.owe(is.Machines)
	w.unsure = false
	w.behind, w.troubled = map[string]map[string]bool{}, map[string]bool{}
	w.settled = settled{at: time.Now(), usable: maps.Clone(w.now.Usable), had: kept(is.Machines), theirs: kept(w.before)}
	w.fewer, w.maybe = map[model.Place]time.Time{}, map[model.Place]bool{}
	w.former, w.named, w.last = w.named, map[string]bool{}, map[model.Place]bool{}
	for _, i := range w.now.Identities {
		w.named[i.Resource] = true
	}
	w.know(is.Objects)
	w.calm = make(chan struct{})
	w.mu.Unlock()
	if over > 0 && !w.plant.costly {
		w.count.Over += over
		w.fail(fmt.Errorf("%d PATCHes more than what happened can have cost", over))
	}
}

// reckon says how many PATCHes there were too many. What is not of one machine, such
// as the death of a mic, may have cost one anywhere. The caller holds mu.
func (w *world) reckon() (over int) {
	sent, allowed := 0, w.allowed[""]
	for machine, n := range w.patches {
		sent += n
		over += max(0, n-w.allowed[machine])
	}
	for machine, n := range w.allowed {
		if machine != "" {
			allowed += n
		}
	}
	over = max(0, over-w.allowed[""])
	w.count.Patches += sent
	w.count.Allowed += allowed
	w.story.add(fmt.Sprintf("all is as it should be, after %d PATCHes, of at most %d", sent, allowed))
	w.patches, w.allowed = map[string]int{}, map[string]int{}
	return over
}

// owe lets mic send a PATCH later for what waits on a machine, since Azure refuses
// it, and one for what stands there until then. The caller holds mu.
func (w *world) owe(machines map[string]model.Machine) {
	waits, stands := map[string]bool{}, map[string]bool{}
	for place := range w.needs {
		if _, has := machines[place.Machine].Has[place.Identity]; !has {
			waits[place.Machine] = true
		}
	}
	for id, m := range machines {
		for i := range m.Has {
			if w.needs[model.Place{Machine: id, Identity: i}] == nil {
				stands[id] = true
			}
		}
	}
	for _, owed := range []map[string]bool{waits, stands} {
		for machine := range owed {
			w.allow(machine, 1)
		}
	}
}

// kept is a copy of what machines have.
func kept(machines map[string]model.Machine) map[string]map[string]bool {
	out := map[string]map[string]bool{}
	for id, m := range machines {
		out[id] = map[string]bool{}
		for i := range m.Has {
			out[id][i] = true
		}
	}
	return out
}

// know takes note of what is known of nodes that may go. The caller holds mu.
func (w *world) know(objects []model.Object) {
	next := w.now.Clone()
	for name, n := range next.Nodes {
		n.Known = !n.Gone
		next.Nodes[name] = n
	}
	for name, p := range next.Pods {
		if !next.Nodes[p.Node].Gone {
			p.Shown = map[string]string{}
			next.Pods[name] = p
		}
	}
	for _, o := range objects {
		p := next.Pods[o.Pod]
		if !next.Nodes[p.Node].Gone && o.Assigned {
			p.Shown[o.Identity.Resource] = o.Machine
		}
	}
	w.now = next
}
