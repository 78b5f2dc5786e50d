package controller_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/test/controller/model"
)

// shown is a machine as Azure has it: what is wanted of it, and what is there.
type shown struct {
	system      bool
	wanted, has map[string]bool
	updating    bool
	sure        bool // that what is wanted is there
	etag        string
}

// shown are all machines as they are now.
func (w *world) shown() map[string]shown {
	out := map[string]shown{}
	state := w.azure.State()
	add := func(id string, a *azemu.Assigned, s azemu.Status) {
		m := shown{
			system: strings.HasPrefix(a.Type, "System"), wanted: map[string]bool{}, has: map[string]bool{},
			updating: s.ProvisioningState == "Updating", sure: s.ProvisioningState == "Succeeded", etag: s.ETag,
		}
		for _, i := range a.UserAssigned {
			m.wanted[strings.ToLower(i)] = true
		}
		for _, i := range s.Visible {
			m.has[strings.ToLower(i)] = true
		}
		out[strings.ToLower(id)] = m
	}
	for _, s := range state.ScaleSets {
		add(s.ID, s.Identity, s.Status)
	}
	for _, s := range state.VMs {
		add(s.ID, s.Identity, s.Status)
	}
	return out
}

// judge applies the laws to a request that is about to be sent.
func (w *world) judge(c call) {
	switch c.kind {
	case change:
		w.judgeChange(c)
	case object:
		if c.r.Method != http.MethodDelete {
			w.judgeObject(c)
		}
	default:
	}
}

// patch is the body of a PATCH of a machine.
type patch struct {
	Identity struct {
		Type string                     `json:"type"`
		User map[string]json.RawMessage `json:"userAssignedIdentities"`
	} `json:"identity"`
}

// removed are the identities that a PATCH takes off a machine, in order.
func (p patch) removed(m shown) (ids []string) {
	for id := range m.wanted {
		if !strings.Contains(p.Identity.Type, "UserAssigned") {
			ids = append(ids, id)
		}
	}
	for id, value := range p.Identity.User {
		if string(value) == "null" {
			ids = append(ids, strings.ToLower(id))
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// added are the identities that a PATCH adds.
func (p patch) added() (ids []string) {
	for id, value := range p.Identity.User {
		if string(value) != "null" {
			ids = append(ids, strings.ToLower(id))
		}
	}
	return ids
}

// changes reports whether a PATCH makes any difference to a machine.
func (p patch) changes(m shown) bool {
	there := func(id string) bool { return m.wanted[id] }
	return slices.ContainsFunc(p.removed(m), there) || slices.ContainsFunc(p.added(), func(id string) bool { return !there(id) })
}

func (w *world) judgeChange(c call) {
	var p patch
	if err := json.Unmarshal(c.body, &p); err != nil {
		w.fail(fmt.Errorf("PATCH of %s: %w", c.machine, err))
		return
	}
	m, now := w.shown()[c.machine], time.Now()
	var text []string
	for id, value := range p.Identity.User {
		text = append(text, string(value)[:1]+short(id)) // {Id-1 or nId-1
	}
	slices.Sort(text)
	w.say("  %s: PATCH %s %s %v", c.line.name, short(c.machine), p.Identity.Type, text)
	if version := c.r.Header.Get("If-Match"); version != "" && version != m.etag {
		return // Azure will refuse it
	}
	w.mu.Lock()
	var wrong []error
	broken := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if until := w.away[c.line.name+c.machine]; now.Before(until) {
		broken("%s: a PATCH %s before Azure wants one", c.machine, until.Sub(now))
	}
	if m.system && !strings.Contains(p.Identity.Type, "SystemAssigned") {
		broken("%s: a PATCH drops the system-assigned identity", c.machine)
	}
	if !m.updating && m.sure && !p.changes(m) {
		broken("%s: a PATCH that changes nothing", c.machine)
	}
	for _, id := range p.added() {
		if place := (model.Place{Machine: c.machine, Identity: id}); !w.named[id] && w.former[id] && !w.last[place] {
			w.last[place] = true
		} else if !w.named[id] {
			broken("%s: a PATCH adds %s, which nobody has named", c.machine, short(id))
		}
		if until := w.refused[c.line.name+c.machine+id]; now.Before(until) {
			broken("%s: a PATCH with %s, which was refused, %s too early", c.machine, short(id), until.Sub(now))
		}
	}
	for _, id := range p.removed(m) {
		if err := w.judgeRemoval(model.Place{Machine: c.machine, Identity: id}, now); err != nil {
			wrong = append(wrong, err)
		}
	}
	w.mu.Unlock()
	for _, err := range wrong {
		w.fail(err)
	}
}

// judgeRemoval is about an identity that a PATCH takes off. A reason that has held
// since all was as it should be is known to mic, in whatever order it has heard of
// what came since. The caller holds mu.
func (w *world) judgeRemoval(place model.Place, now time.Time) error {
	machine, id := place.Machine, place.Identity
	for _, since := range w.needs[place] {
		if !since.After(w.settled.at) {
			return fmt.Errorf("%s: a PATCH takes off %s, which is needed", machine, short(id))
		}
	}
	kept := w.settled.had[machine][id] && !w.behind[machine][id] && !w.troubled[machine]
	end, fewer := w.fewer[place]
	switch {
	case w.now.Immutable[id]:
		return fmt.Errorf("%s: a PATCH takes off %s, which is immutable", machine, short(id))
	case w.before[machine].Has[id] == model.Others:
		return fmt.Errorf("%s: a PATCH takes off %s, which others put there", machine, short(id))
	case kept && fewer && now.Sub(end) < w.warm:
		return fmt.Errorf("%s: a PATCH takes off %s %s after it was needed, not %s", machine, short(id), now.Sub(end), w.warm)
	default:
		return nil
	}
}

// heard takes note of an answer of Azure's.
func (w *world) heard(c call, answer *http.Response, err error) {
	if c.kind != change {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil || answer.StatusCode >= http.StatusBadRequest {
		w.troubled[c.machine] = true
	}
	if err == nil && (answer.StatusCode == http.StatusForbidden || answer.StatusCode == http.StatusBadRequest) {
		w.allow(c.machine, 2) // this one, and what of it is not refused
		w.quarantined(c)
	}
	if err == nil && answer.StatusCode == http.StatusTooManyRequests {
		seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
		w.away[c.line.name+c.machine] = time.Now().Add(time.Duration(seconds) * time.Second)
	}
}

// quarantined takes note of the identities for which a PATCH was refused. One that
// does not exist is named alone, by which Azure hides others. The caller holds mu.
func (w *world) quarantined(c call) {
	var p patch
	if json.Unmarshal(c.body, &p) != nil {
		return
	}
	var guilty []string
	hidden := false
	for _, id := range p.added() {
		if w.now.Usable[id] != w.settled.usable[id] { // which was it when Azure looked?
			return
		}
		if !w.now.Usable[id] {
			guilty = append(guilty, id)
			hidden = hidden || w.deleted[id]
		}
	}
	if w.unsure || hidden && len(guilty) > 1 {
		return
	}
	for _, id := range guilty {
		w.refused[c.line.name+c.machine+id] = time.Now().Add(quarantine)
	}
}

// judgeObject applies the laws to a write of an AzureAssignedIdentity: nobody is
// told that an identity is there which is not, and what is there is not taken
// back.
func (w *world) judgeObject(c call) {
	var o v1.AzureAssignedIdentity
	if err := json.Unmarshal(c.body, &o); err != nil {
		w.fail(fmt.Errorf("%s %s: %w", c.r.Method, c.r.URL.Path, err))
		return
	}
	parts := strings.Split(c.r.URL.Path, "/") // /apis/GROUP/v1/namespaces/NS/azureassignedidentities/NAME
	var before v1.AzureAssignedIdentity
	if c.r.Method != http.MethodPost {
		if err := w.api.Get(c.r.Context(), client.ObjectKey{Namespace: parts[5], Name: parts[7]}, &before); client.IgnoreNotFound(err) != nil {
			return // the end of the world
		}
	}
	if c.r.Method == http.MethodPatch {
		if before.ResourceVersion != o.ResourceVersion {
			return // it will be refused
		}
		state := o.Status.Status
		o = *before.DeepCopy()
		o.Status.Status = state
	}
	if o.Spec.AzureIdentityRef == nil {
		w.fail(fmt.Errorf("%s %s: there is no identity in it", c.r.Method, c.r.URL.Path))
		return
	}
	id, machine := resourceOf(o.Spec.AzureIdentityRef.Spec), o.Annotations["podid.io/scope"]
	if id == "" || machine == "" {
		return
	}
	there := w.shown()[machine].has[id]
	w.mu.Lock()
	excused := w.behind[machine][id]
	w.mu.Unlock()
	switch {
	case o.Status.Status == v1.Assigned && !there && !excused:
		w.fail(fmt.Errorf("%s/%s: Assigned, while %s lacks %s", parts[5], o.Name, short(machine), short(id)))
	case o.Status.Status != v1.Assigned && before.Status.Status == v1.Assigned && there && !excused &&
		before.Spec.PodUID == o.Spec.PodUID && before.Spec.NodeName == o.Spec.NodeName && before.Annotations["podid.io/scope"] == machine:
		w.fail(fmt.Errorf("%s/%s: no longer Assigned, while %s has %s", parts[5], o.Name, short(machine), short(id)))
	}
}

// resourceOf is the ARM id in the spec of an AzureIdentity, in lower case.
func resourceOf(s v1.AzureIdentitySpec) string {
	if s.ResourceID == "" {
		return strings.ToLower(s.OldResourceID)
	}
	return strings.ToLower(s.ResourceID)
}

// short is the last part of an id.
func short(id string) string { return id[strings.LastIndex(id, "/")+1:] }
