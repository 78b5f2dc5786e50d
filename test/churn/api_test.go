package churn_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/podid-io/podid/test/churn/model"
)

// event is a change of an object; nil is one that is gone.
type event struct {
	key     model.Key
	object  any
	before  any
	version int
}

// apiServer is an API server that tells what it holds as late as the test wants:
// LIST and WATCH as the Kubernetes API documents them, for the kinds of one node.
type apiServer struct {
	encode func(object any, version int) json.RawMessage
	// replaced is called with mu held, before and after a list that differs from
	// what was told before.
	replaced func()

	mu      sync.Mutex
	version int                 // counts changes. This and all below are guarded by mu.
	holds   *model.Objects      // what there is
	told    *model.Objects      // what the agent knows
	kinds   [kinds]*watchedKind // by kind
	streams bool                // lists can be had as the beginning of a watch
	managed bool                // nobody watches what is assigned
	last    map[netip.Addr]lastWord
	lists   int // those that told something new
	broken  error
}

// watchedKind is what the server knows of one kind.
type watchedKind struct {
	queue   []event // what has not been told yet
	version int     // of what was told
	stream  *stream // the watch that is open; nil for none
	gone    bool    // the next watch asks for what is too old
	// away is until when nobody is served, after a watch was cut. The agent comes
	// back after a time of its own choice, which is no part of the story: it is
	// over before.
	away time.Time
}

// lastWord is the last that a watch told of an address: the pod that the event
// was about, and whether that was gone.
type lastWord struct {
	uid  string
	gone bool
}

// stream is an open watch.
type stream struct {
	out  chan []byte
	stop chan struct{} // closed to end it
	done chan struct{} // closed when it has ended
}

func newAPIServer(replaced func()) *apiServer {
	a := &apiServer{encode: encode, replaced: replaced, holds: model.NewObjects(), told: model.NewObjects(), version: 1, last: map[netip.Addr]lastWord{}}
	for k := range a.kinds {
		a.kinds[k] = &watchedKind{version: 1}
	}
	return a
}

// put stores an object, or with nil takes it away, and reports whether that
// changes anything.
func (a *apiServer) put(k kind, key model.Key, object any) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := lookUp(a.holds, k, key)
	if before == object {
		return false
	}
	a.version++
	store(a.holds, k, key, object)
	a.kinds[k].queue = append(a.kinds[k].queue, event{key, object, before, a.version})
	return true
}

// deliver tells one event of a kind, if anybody watches and there is one.
func (a *apiServer) deliver(k kind, twice bool) {
	a.mu.Lock()
	w := a.kinds[k]
	if w.stream == nil || len(w.queue) == 0 {
		a.mu.Unlock()
		return
	}
	e := w.queue[0]
	w.queue = w.queue[1:]
	w.version = e.version
	store(a.told, k, e.key, e.object)
	a.note(e)
	text := a.line(e)
	if twice && e.object != nil {
		e.before = e.object
		text = append(text, a.line(e)...)
	}
	s := w.stream
	a.mu.Unlock()
	s.write(text)
}

// awayFor is how long a kind is not served after its watch was cut.
const awayFor = 7 * time.Second

// note keeps what the event says of addresses, for bugs that believe whatever
// came last. a.mu is held.
func (a *apiServer) note(e event) {
	p, ok := e.object.(model.Pod)
	gone := e.object == nil
	if gone {
		p, ok = e.before.(model.Pod)
	}
	for _, addr := range []netip.Addr{p.Addr, p.Second} {
		if ok && addr.IsValid() && !p.HostNetwork {
			a.last[addr] = lastWord{p.UID, gone || p.Ended}
		}
	}
}

// lastOf is the last that a watch told of an address, since the agent came.
func (a *apiServer) lastOf(addr netip.Addr) (lastWord, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last, ok := a.last[addr]
	return last, ok
}

// bookmark tells that nothing else has changed, and reports whether it did.
func (a *apiServer) bookmark(k kind) bool {
	a.mu.Lock()
	w := a.kinds[k]
	if w.stream == nil || len(w.queue) > 0 {
		a.mu.Unlock()
		return false
	}
	w.version = a.version
	s, text := w.stream, bookmark(k, w.version, "")
	a.mu.Unlock()
	s.write(text)
	return true
}

// cut ends the watch of a kind, after an error in it or without a word. If gone,
// what the agent asks for next has been compacted.
func (a *apiServer) cut(k kind, gone, inBand bool) {
	a.mu.Lock()
	w := a.kinds[k]
	s := w.stream
	w.stream = nil
	if s != nil {
		w.gone = gone && !inBand
		w.away = time.Now().Add(awayFor)
	}
	a.mu.Unlock()
	if s == nil {
		return
	}
	if gone && inBand {
		s.write(fmt.Appendf(nil, `{"type":"ERROR","object":%s}`+"\n", status(http.StatusGone, "Expired")))
	}
	close(s.stop)
	<-s.done
}

// await returns when the kind is served again, or false when r has ended.
func (a *apiServer) await(r *http.Request, k kind) bool {
	a.mu.Lock()
	away := a.kinds[k].away
	a.mu.Unlock()
	select {
	case <-time.After(time.Until(away)):
		return true
	case <-r.Context().Done():
		return false
	}
}

// write sends text, if the watch is still open.
func (s *stream) write(text []byte) {
	select {
	case s.out <- text:
	case <-s.done:
	}
}

// line is an event as a watch tells it.
func (a *apiServer) line(e event) []byte {
	word, object := "MODIFIED", e.object
	switch {
	case e.before == nil:
		word = "ADDED"
	case e.object == nil:
		word, object = "DELETED", e.before
	}
	return fmt.Appendf(nil, `{"type":%q,"object":%s}`+"\n", word, a.encode(object, e.version))
}

func bookmark(k kind, version int, more string) []byte {
	r := k.resource()
	return fmt.Appendf(nil, `{"type":"BOOKMARK","object":{"apiVersion":%q,"kind":%q,"metadata":{"resourceVersion":"%d"%s}}}`+"\n", r.version, r.name, version, more)
}

func status(code int, reason string) string {
	return fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":%q,"reason":%q,"code":%d}`, reason, reason, code)
}

// yield is called before time passes: what the server tells then it tells after
// all that was done before, see replaced.
func (a *apiServer) yield() {
	a.mu.Lock()
	defer a.mu.Unlock()
}

// waiting lists the kinds of which there is something to tell, and somebody to
// tell it to.
func (a *apiServer) waiting() []kind {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []kind
	for k, w := range a.kinds {
		if w.stream != nil && len(w.queue) > 0 {
			list = append(list, kind(k))
		}
	}
	return list
}

// watched lists the kinds that are being watched; nil while one of them is not
// that should be.
func (a *apiServer) watched() []kind {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []kind
	for k, w := range a.kinds {
		switch {
		case w.stream != nil:
			list = append(list, kind(k))
		case !a.unwanted(kind(k)):
			return nil
		}
	}
	return list
}

// unwanted reports whether the agent has no use for the kind. a.mu is held.
func (a *apiServer) unwanted(k kind) bool { return a.managed && k == assigned }

// startOver is for an agent that comes: it gets its first lists as a stream or
// not, and of now or of what was told last. In a managed cluster it does not ask
// for what is assigned.
func (a *apiServer) startOver(streams, fresh, managed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.streams, a.managed, a.broken = streams, managed, nil
	a.holds.Managed, a.told.Managed = managed, managed
	a.last = map[netip.Addr]lastWord{}
	for k, w := range a.kinds {
		w.gone, w.away = false, time.Time{}
		if fresh {
			a.refresh(kind(k), "")
		}
	}
}

// behind reports whether the agent does not know everything.
func (a *apiServer) behind() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for k, w := range a.kinds {
		if (w.stream == nil || len(w.queue) > 0) && !a.unwanted(kind(k)) {
			return true
		}
	}
	return false
}
