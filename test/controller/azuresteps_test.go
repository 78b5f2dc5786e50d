package controller_test

import (
	"encoding/json"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/test/controller/model"
)

// somebodyAssigns has somebody else put an identity on a machine.
func (w *world) somebodyAssigns() bool {
	machine, id := one(w, w.names.machines), strings.ToLower(one(w, w.names.identities))
	owner := model.Others
	if w.recorded(machine)[id] != "" { // mic counts it as its own
		owner = model.Either
	}
	if !w.elsewhere(machine, id, true) {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before[machine].Has[id] = owner
	return true
}

// somebodyRemoves has somebody else take an identity off a machine.
func (w *world) somebodyRemoves() bool {
	machine, id := one(w, w.names.machines), strings.ToLower(one(w, w.names.identities))
	w.mu.Lock()
	owner, theirs := w.before[machine].Has[id]
	delete(w.before[machine].Has, id)
	if w.behind[machine] == nil {
		w.behind[machine] = map[string]bool{}
	}
	already := w.behind[machine][id]
	w.behind[machine][id] = true
	w.mu.Unlock()
	if w.elsewhere(machine, id, false) {
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

// grant lets mic send more PATCHes.
func (w *world) grant(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.allow(n)
}

// elsewhere is a change that is not mic's. It may take a while, in which mic meets
// the operation. It returns false where there was nothing to change, or where Azure
// would not.
func (w *world) elsewhere(machine, id string, attach bool) bool {
	x := azemu.Edit{Scope: machine, Attach: []string{id}, Takes: azemu.Duration(one(w, []time.Duration{0, 0, 500 * time.Millisecond, time.Second}))}
	if !attach {
		x.Attach, x.Detach = nil, x.Attach
	}
	w.changing.Lock() // no PATCH of mic's comes between
	defer w.changing.Unlock()
	if w.shown()[machine].wanted[id] == attach || attach && !w.now.Usable[id] {
		return false
	}
	w.grant(2) // that mic has to read it again, and to put back what is needed
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
			if owner == model.Others && !w.theirs[machine][id] {
				m.Has[id] = model.Either
			}
		}
	}
}

func (w *world) identityRefused() bool {
	id, ok := pick(w, w.now.Usable, strings.Compare, func(_ string, usable bool) bool { return usable })
	if ok {
		w.setUsable(id, false)
	}
	return ok
}

func (w *world) identityTaken() bool {
	id, ok := pick(w, w.now.Usable, strings.Compare, func(_ string, usable bool) bool { return !usable })
	if ok {
		w.setUsable(id, true)
	}
	return ok
}

// setUsable says whether Azure lets anybody assign an identity.
func (w *world) setUsable(id string, usable bool) {
	w.say("identity %s may be assigned: %t", short(id), usable)
	for _, known := range w.names.identities {
		if strings.EqualFold(known, id) {
			must(w.t, w.azure.MergeState(azemu.State{Identities: []azemu.Identity{{ID: known, NoPermission: !usable}}}))
		}
	}
	next := w.now.Clone()
	next.Usable[id] = usable
	w.extend(next)
}
