package controller_test

import (
	"net/http"
	"time"

	"github.com/podid-io/podid/internal/azemu"
)

// plan has some requests meet a fate, unless the bout ends before.
func (w *world) plan(f fate) {
	f.left = 1 + w.r.IntN(2)
	w.say("%d times: %s", f.left, f.name)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fates = append(w.fates, &f)
}

// azureFails has something go wrong between mic and Azure, or in Azure.
func (w *world) azureFails() bool {
	machine := ""
	if w.r.IntN(2) == 0 {
		machine = one(w, w.names.machines)
	}
	fates := []fate{
		throttling(machine),
		{name: "409 to a PATCH", of: addressed(change, machine), cost: 1, do: refused{status: http.StatusConflict, code: "AnotherOperationInProgress"}},
		{name: "500 to a PATCH", of: addressed(change, machine), cost: 1, do: refused{status: http.StatusInternalServerError, code: "InternalServerError"}},
		{name: "a PATCH is lost", of: addressed(change, machine), cost: 1, do: unsent{}},
		{name: "the answer to a PATCH is lost", of: addressed(change, machine), cost: 1, do: unheard{}},
		{name: "a PATCH hangs", of: addressed(change, machine), cost: 1, do: hangs{w}},
		{name: "somebody writes before a PATCH", of: addressed(change, machine), cost: 2, do: overtaken{w, 0}},
		{name: "somebody begins an operation before a PATCH", of: addressed(change, machine), cost: 2, do: overtaken{w, time.Second}},
		{name: "500 to a GET of a machine", of: addressed(look, machine), do: refused{status: http.StatusInternalServerError, code: "InternalServerError"}},
		{name: "the answer to a GET is lost", of: addressed(look, machine), do: unheard{}},
		{name: "429 to a GET", of: addressed(look, machine), do: refused{status: http.StatusTooManyRequests, code: "OperationNotAllowed", retryAfter: "1"}},
		{name: "500 to a list", of: addressed(listing, ""), do: refused{status: http.StatusInternalServerError, code: "InternalServerError"}},
		{name: "500 to a look at an operation", of: addressed(polling, ""), do: refused{status: http.StatusInternalServerError, code: "InternalServerError"}},
		{name: "the answer to a look at an operation is lost", of: addressed(polling, ""), do: unheard{}},
		{name: "no sign-in", of: addressed(signIn, ""), do: refused{status: http.StatusServiceUnavailable, code: "temporarily_unavailable"}},
	}
	if i := w.r.IntN(len(fates) + 5); i < len(fates) {
		w.plan(fates[i])
		return true
	}
	w.operationFails()
	return true
}

func throttling(machine string) fate {
	return fate{name: "429 to a PATCH", of: addressed(change, machine), cost: 1, do: refused{status: http.StatusTooManyRequests, code: "OperationNotAllowed", retryAfter: "1"}}
}

// throttled has Azure want to be left alone.
func (w *world) throttled() { w.plan(throttling("")) }

// operationFails has the next operation take long, or fail: without effect, with a
// part of it, or with all. Azure may name what it has not done.
func (w *world) operationFails() {
	end := azemu.Fault{Delay: azemu.Duration(time.Second + time.Duration(w.r.IntN(3000))*time.Millisecond), Times: 1}
	switch w.r.IntN(4) {
	case 0:
	case 1:
		end.Named = true
	default:
		end.Code, end.Carried = "InternalError", w.r.IntN(3)-1
	}
	// Nobody knows what is there then: it is all sent again, and taken off again. What
	// is named is sent apart.
	w.grant("", 3)
	w.say("the next operation takes %s and ends with %q, named %t, %d carried out", time.Duration(end.Delay), end.Code, end.Named, end.Carried)
	must(w.t, w.azure.SetFault(azemu.EndpointOperationEnd, end))
}

// clusterFails has something go wrong between mic and the API server.
func (w *world) clusterFails() bool {
	kind := one(w, []kind{object, object, record, status, reading})
	fates := []fate{
		{name: "409 to a " + string(kind), of: addressed(kind, ""), do: refused{status: http.StatusConflict, code: "Conflict"}},
		{name: "500 to a " + string(kind), of: addressed(kind, ""), do: refused{status: http.StatusInternalServerError, code: "InternalError"}},
		{name: "the answer to a " + string(kind) + " is lost", of: addressed(kind, ""), do: unheard{}},
	}
	if kind == reading { // nobody answers 409 to that
		fates = fates[1:]
	}
	if i := w.r.IntN(len(fates) + 1); i < len(fates) {
		w.plan(fates[i])
		return true
	}
	w.say("the API server drops all watches")
	for _, r := range w.replicas {
		r.dropWatches()
	}
	return true
}

// micDies kills a mic, mostly the one that leads.
func (w *world) micDies() bool {
	either, r := w.r.IntN(4) == 0, one(w, w.replicas)
	if l := w.leader(); l != nil && !either {
		r = l
	}
	w.say("%s is killed", r.name)
	w.grant("", dead)
	r.kill()
	return true
}

// dead is how many PATCHes more the death of a mic may cost: it had sent one
// already, or was about to.
const dead = 2

// micWillDie has a mic be killed in the middle of something.
func (w *world) micWillDie() bool {
	k := one(w, []kind{change, change, record, record, object, look, polling})
	f := fate{name: "mic dies before a " + string(k), of: addressed(k, ""), cost: dead, do: dies{}}
	if w.r.IntN(2) == 0 {
		f.name, f.do = "mic dies after a "+string(k), dies{after: true}
	}
	w.plan(f)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fates[len(w.fates)-1].left = 1
	return true
}

// micReplaced ends a mic as an upgrade does, and starts another.
func (w *world) micReplaced() bool {
	r := one(w, w.replicas)
	w.say("%s is stopped", r.name)
	w.grant("", 1)
	r.stop()
	<-r.ended
	r.cut()
	return true
}
