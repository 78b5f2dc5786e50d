package controller_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/test/controller/model"
)

// fate is what becomes of some requests.
type fate struct {
	name string
	// of says which requests, left how many of them.
	of   func(call) bool
	left int
	// cost is how many PATCHes more each may have mic send.
	cost int
	// do answers in place of the world, or sends the request and spoils the answer.
	do deed
}

// deed is what is done with a request. sending lets it through.
type (
	deed interface {
		do(c call, send sending) (*http.Response, error)
	}
	sending func(call) (*http.Response, error)
)

// meet has a request meet its fate.
func (w *world) meet(c call, through sending) (*http.Response, error) {
	defer w.stir() // something may be as it should be now: last of all
	send := w.judged(through)
	c.line.note(c)
	w.mu.Lock()
	if c.kind == change {
		w.patches[c.machine]++
	}
	if c.machine != "" {
		w.flying++
		defer func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.flying--
		}()
	}
	var met *fate
	for _, f := range w.fates {
		if f.left > 0 && f.of(c) {
			f.left--
			met = f
			break
		}
	}
	if met != nil {
		w.allow(c.machine, met.cost)
		w.hit[met.name]++
		w.blur()
		w.unsure = w.unsure || c.kind == record
	}
	w.mu.Unlock()
	if met != nil {
		w.say("  %s: %s: %s", c.line.name, what(c), met.name)
		send = func(c call) (*http.Response, error) { return met.do.do(c, w.judged(through)) }
	}
	answer, err := send(c)
	w.heard(c, answer, err)
	if err == nil && w.plant.answer != nil {
		w.plant.answer(w, c, answer)
	}
	return answer, err
}

// judged is send, before which the laws are applied.
func (w *world) judged(send sending) sending {
	return func(c call) (*http.Response, error) {
		if c.line.dead.Err() != nil {
			return nil, errCut
		}
		w.judge(c)
		if c.kind == change {
			w.changing.RLock()
			defer w.changing.RUnlock()
		}
		return send(c)
	}
}

// what is a request in a story.
func what(c call) string {
	path := c.r.URL.Path
	return c.r.Method + " " + path[strings.LastIndex(path, "/")+1:]
}

// addressed is for requests of a kind, to one machine where that is not empty.
func addressed(k kind, machine string) func(call) bool {
	return func(c call) bool { return c.kind == k && (machine == "" || c.machine == machine) }
}

// refused answers in place of who was asked.
type refused struct {
	status int
	code   string
	// retryAfter is the header; empty for none.
	retryAfter string
}

func (f refused) do(c call, _ sending) (*http.Response, error) {
	if strings.HasPrefix(c.r.URL.Path, "/api") {
		return f.answer(c, fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,"message":"it was not to be"}`, f.code, f.status)), nil
	}
	return f.answer(c, fmt.Sprintf(`{"error":{"code":%q,"message":"it was not to be"}}`, f.code)), nil
}

// answer is an answer with a text.
func (f refused) answer(c call, text string) *http.Response {
	header := http.Header{"Content-Type": {"application/json"}}
	if f.retryAfter != "" {
		header.Set("Retry-After", f.retryAfter)
	}
	return &http.Response{
		StatusCode: f.status, Status: fmt.Sprintf("%d %s", f.status, http.StatusText(f.status)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Request: c.r, Body: io.NopCloser(strings.NewReader(text)), ContentLength: int64(len(text)),
	}
}

// unsent loses the request.
type unsent struct{}

func (unsent) do(call, sending) (*http.Response, error) { return nil, errLost }

// unheard loses the answer.
type unheard struct{}

func (unheard) do(c call, send sending) (*http.Response, error) {
	answer, err := send(c)
	if err == nil {
		_ = answer.Body.Close() // nobody is to read it
		err = errLost
	}
	return nil, err
}

// hangs has a request wait until nothing goes wrong any more, and be lost then.
type hangs struct{ w *world }

func (f hangs) do(c call, _ sending) (*http.Response, error) {
	f.w.mu.Lock()
	calm := f.w.calm
	f.w.mu.Unlock()
	select {
	case <-calm:
	case <-c.r.Context().Done():
	case <-c.line.dead.Done():
	}
	return nil, errLost
}

// overtaken has somebody else change the machine before the PATCH is there: the
// identity that nobody in the cluster knows comes or goes, or an operation about
// something else begins.
type overtaken struct {
	w     *world
	takes time.Duration
}

func (f overtaken) do(c call, send sending) (*http.Response, error) {
	f.w.overtake(azemu.Edit{Scope: c.machine, Takes: azemu.Duration(f.takes)})
	return send(c)
}

// overtake has somebody else edit a machine. An edit that takes no time brings or
// takes the keeper.
func (w *world) overtake(x azemu.Edit) {
	w.changing.Lock() // nothing comes between
	defer w.changing.Unlock()
	m, exists := w.shown()[x.Scope]
	if !exists {
		return // it was deleted since mic read it
	}
	if x.Takes == 0 && !m.updating {
		w.toggle(&x, m)
	}
	w.say("  somebody edits %s: %v", short(x.Scope), w.azure.Edit(x))
}

// toggle has an edit bring or take the keeper, which is certain to be made.
func (w *world) toggle(x *azemu.Edit, m shown) {
	w.mu.Lock()
	defer w.mu.Unlock()
	keeper := strings.ToLower(w.names.keeper)
	if m.wanted[keeper] {
		x.Detach = []string{keeper}
		delete(w.before[x.Scope].Has, keeper)
		return
	}
	x.Attach = []string{keeper}
	w.before[x.Scope].Has[keeper] = model.Others
}

// dies has mic be gone before the request is sent, or before its answer is heard.
type dies struct{ after bool }

func (f dies) do(c call, send sending) (*http.Response, error) {
	if f.after {
		if answer, err := send(c); err == nil {
			_ = answer.Body.Close() // nobody is left to read it
		}
	}
	c.line.kill()
	return nil, errCut
}
