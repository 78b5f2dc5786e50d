package controller_test

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/test/controller/model"
)

// somebodyAssigns has somebody else put an identity on a machine.
func (w *world) somebodyAssigns() bool {
	machine, id, takes := one(w, w.names.machines), strings.ToLower(one(w, w.names.identities)), w.duration()
	owner := model.Others
	if w.recorded(machine)[id] != "" { // mic counts it as its own
		owner = model.Either
	}
	if !w.elsewhere(machine, id, true, takes) {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before[machine].Has[id] = owner
	return true
}

// somebodyRemoves has somebody else take an identity off a machine.
func (w *world) somebodyRemoves() bool {
	at, takes := w.r.IntN(1000), w.duration()
	var all [][2]string
	for machine, m := range w.shown() {
		for id := range m.wanted {
			if id != strings.ToLower(w.names.keeper) {
				all = append(all, [2]string{machine, id})
			}
		}
	}
	if len(all) == 0 {
		return true
	}
	slices.SortFunc(all, func(x, y [2]string) int { return slices.Compare(x[:], y[:]) })
	machine, id := all[at%len(all)][0], all[at%len(all)][1]
	w.mu.Lock()
	owner, theirs := w.before[machine].Has[id]
	delete(w.before[machine].Has, id)
	if w.behind[machine] == nil {
		w.behind[machine] = map[string]bool{}
	}
	already := w.behind[machine][id]
	w.behind[machine][id] = true
	w.mu.Unlock()
	if w.elsewhere(machine, id, false, takes) {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if theirs {
		w.before[machine].Has[id] = owner
	}
	if !already {
		delete(w.behind[machine], id)
	}
	return true
}

// grant lets mic send more PATCHes of a machine, or of any one where that is empty.
func (w *world) grant(machine string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.allow(machine, n)
}

// duration is how long what somebody else does takes.
func (w *world) duration() time.Duration {
	return one(w, []time.Duration{0, 0, 500 * time.Millisecond, time.Second})
}

// elsewhere is a change that is not mic's. It may take a while, in which mic meets
// the operation. It returns false where there was nothing to change, or where Azure
// would not.
func (w *world) elsewhere(machine, id string, attach bool, takes time.Duration) bool {
	x := azemu.Edit{Scope: machine, Attach: []string{id}, Takes: azemu.Duration(takes)}
	if !attach {
		x.Attach, x.Detach = nil, x.Attach
	}
	w.changing.Lock() // no PATCH of mic's comes between
	defer w.changing.Unlock()
	if w.missing[machine] || w.shown()[machine].wanted[id] == attach || attach && !w.now.Usable[id] {
		return false
	}
	w.grant(machine, 2) // that mic has to read it again, and to put back what is needed
	err := w.azure.Edit(x)
	w.say("somebody has %s on %s: %t, in %s: %v", short(id), short(machine), attach, time.Duration(x.Takes), err)
	return err == nil
}

// recorded is what mic has written down about a machine.
func (w *world) recorded(machine string) map[string]string {
	w.t.Helper()
	var list corev1.ConfigMapList
	must(w.t, w.api.List(w.t.Context(), &list, client.InNamespace(system)))
	for i := range list.Items {
		if d := list.Items[i].Data; d["scope"] == machine {
			var record map[string]string
			must(w.t, json.Unmarshal([]byte(d["identities"]), &record))
			return record
		}
	}
	return nil
}

// blur is for when mic may have meant to attach something, and not written down
// that it did not: what others have attached since then counts as anybody's.
// The caller holds mu.
func (w *world) blur() {
	for machine, m := range w.before {
		for id, owner := range m.Has {
			if owner == model.Others && !w.settled.theirs[machine][id] {
				m.Has[id] = model.Either
			}
		}
	}
}

// identityRefused has Azure not let anybody assign an identity, or not have it any
// more: one that is on no machine, since what is there of one that is deleted is
// another matter.
func (w *world) identityRefused() bool {
	id, gone := one(w, w.names.identities), w.r.IntN(2) == 0
	if !w.now.Usable[strings.ToLower(id)] {
		return true
	}
	w.changing.Lock()
	defer w.changing.Unlock()
	for _, m := range w.shown() {
		gone = gone && !m.wanted[strings.ToLower(id)] && !m.has[strings.ToLower(id)]
	}
	if gone {
		must(w.t, w.azure.DeleteIdentity(id))
	} else {
		must(w.t, w.azure.MergeState(azemu.State{Identities: []azemu.Identity{{ID: id, NoPermission: true}}}))
	}
	w.say("Azure refuses %s, deleted %t", short(id), gone)
	w.mu.Lock()
	w.deleted[strings.ToLower(id)] = gone
	w.mu.Unlock()
	next := w.now.Clone()
	next.Usable[strings.ToLower(id)] = false
	w.extend(next)
	return true
}

func (w *world) identityTaken() bool {
	id := one(w, w.names.identities)
	if w.now.Usable[strings.ToLower(id)] {
		return true
	}
	w.say("Azure takes %s again", short(id))
	must(w.t, w.azure.MergeState(azemu.State{Identities: []azemu.Identity{{ID: id, ClientID: w.clients[id]}}}))
	next := w.now.Clone()
	next.Usable[strings.ToLower(id)] = true
	w.extend(next)
	return true
}

// somebodyDeletes has somebody delete an AzureAssignedIdentity.
func (w *world) somebodyDeletes() bool {
	at := w.r.IntN(100)
	var list v1.AzureAssignedIdentityList
	must(w.t, w.api.List(w.t.Context(), &list))
	if len(list.Items) > 0 {
		o := &list.Items[at%len(list.Items)]
		w.say("somebody deletes AzureAssignedIdentity %s/%s", o.Namespace, o.Name)
		must(w.t, client.IgnoreNotFound(w.api.Delete(w.t.Context(), o)))
	}
	return true
}

// machineGoes deletes a machine with its nodes and their pods, in any order.
func (w *world) machineGoes() bool {
	machine, first := one(w, w.names.machines), w.r.IntN(2) == 0
	if w.missing[machine] {
		return false
	}
	var nodes []string
	for name, n := range w.now.Nodes {
		if n.Machine == machine {
			nodes = append(nodes, name)
		}
	}
	slices.Sort(nodes)
	w.say("machine %s goes, with nodes %v", short(machine), nodes)
	if first {
		w.deleteMachine(machine)
	}
	for _, name := range nodes {
		if !w.now.Nodes[name].Gone && !w.deleteNode(name) {
			return false
		}
		w.deletePodsOn(name)
		next := w.now.Clone()
		delete(next.Nodes, name)
		w.extend(next)
	}
	if !first {
		w.deleteMachine(machine)
	}
	return true
}

// deleteMachine has Azure delete a machine, unless an operation is in the way.
func (w *world) deleteMachine(machine string) {
	w.changing.Lock()
	defer w.changing.Unlock()
	all := map[string]bool{}
	for _, id := range w.names.identities {
		all[strings.ToLower(id)] = true
	}
	w.mu.Lock()
	behind, already := w.behind[machine]
	w.behind[machine] = all // before it is so: a mic may be about to tell of them
	w.mu.Unlock()
	err := w.azure.Edit(azemu.Edit{Scope: machine, Delete: true})
	w.say("Azure deletes %s: %v", short(machine), err)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil:
		w.missing[machine] = true
		delete(w.before, machine)
	case already:
		w.behind[machine] = behind
	default:
		delete(w.behind, machine)
	}
}

// machineComes has a machine that was deleted be made again, once mic has heard of
// its end.
func (w *world) machineComes() bool {
	machine := one(w, w.names.machines)
	if !w.missing[machine] || w.behind[machine] != nil {
		return true
	}
	var s azemu.State
	var has *azemu.Assigned
	if w.r.IntN(2) == 0 { // an identity of its own
		has = &azemu.Assigned{Type: "SystemAssigned"}
	}
	for _, id := range w.names.sets {
		if strings.EqualFold(id, machine) {
			s.ScaleSets = append(s.ScaleSets, azemu.ScaleSet{ID: id, Identity: has})
		}
	}
	for _, id := range w.names.vms {
		if strings.EqualFold(id, machine) {
			s.VMs = append(s.VMs, azemu.VM{ID: id, Identity: has})
		}
	}
	w.changing.Lock() // nobody is to find it before it is known
	defer w.changing.Unlock()
	must(w.t, w.azure.MergeState(s))
	w.say("machine %s comes", short(machine))
	delete(w.missing, machine)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before[machine] = model.Machine{System: has != nil, Has: map[string]model.Owner{}}
	return true
}
