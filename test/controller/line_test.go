package controller_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	coordinationv1 "k8s.io/api/coordination/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
)

// line is all by which one mic reaches the world: the API server, Azure and Entra
// ID. Once it is cut nothing that mic does reaches anybody, and nothing reaches it:
// to the world it is a process that was killed, in the middle of whatever it did.
type line struct {
	w    *world
	name string
	dead context.Context //nolint:containedctx // ends with the process that the line stands for
	cut  context.CancelFunc

	mu      sync.Mutex
	watches map[int]func() // guarded by mu; each ends one
	next    int            // guarded by mu
	holder  string         // guarded by mu; by which name it holds the Lease
	read    map[string]int // guarded by mu; see probe
}

func newLine(w *world, name string) *line {
	l := &line{w: w, name: name, watches: map[int]func(){}, read: map[string]int{}}
	l.dead, l.cut = context.WithCancel(context.WithoutCancel(w.t.Context())) // who starts it ends it
	return l
}

// kill cuts the line of a mic that lives.
func (l *line) kill() {
	if l.dead.Err() == nil {
		l.w.kills.Add(1)
	}
	l.cut()
}

var (
	errCut  = errors.New("the process is gone")
	errLost = errors.New("the connection broke")
)

// dropWatches has all watches end, as a restart of an API server does.
func (l *line) dropWatches() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, end := range l.watches {
		end()
	}
}

// call is one request of a mic.
type call struct {
	line    *line
	r       *http.Request
	kind    kind
	machine string // of Azure's, in lower case
	body    []byte
}

// kind is what a request is about.
type kind string

const (
	change   kind = "PATCH of a machine"
	look     kind = "GET of a machine"
	listing  kind = "list of machines"
	polling  kind = "look at an operation"
	signIn   kind = "sign-in"
	object   kind = "write of an object"
	record   kind = "write of a record"
	status   kind = "write of a status"
	reading  kind = "read"
	watching kind = "watch"
	other    kind = "other"
)

func kubernetesKind(r *http.Request) kind {
	path, write := r.URL.Path, r.Method != http.MethodGet
	switch {
	case r.URL.Query().Get("watch") == "true":
		return watching
	case strings.Contains(path, "/leases"), strings.Contains(path, "/events"):
		return other
	case !write:
		return reading
	case strings.Contains(path, "/azureassignedidentities"):
		return object
	case strings.Contains(path, "/configmaps"):
		return record
	case strings.HasSuffix(path, "/status"):
		return status
	default:
		return other
	}
}

func azureKind(r *http.Request) (of kind, machine string) {
	path := strings.ToLower(r.URL.Path)
	switch parts := strings.Split(path, "/"); {
	case !strings.HasPrefix(path, "/subscriptions/"):
		return signIn, ""
	case strings.Contains(path, "/operations/"):
		return polling, ""
	case len(parts) == 8:
		return listing, ""
	case r.Method == http.MethodPatch:
		return change, path
	default:
		return look, path
	}
}

// note finds out under which name mic holds the Lease.
func (l *line) note(c call) {
	if c.kind != other || c.r.Method == http.MethodGet || !strings.Contains(c.r.URL.Path, "/leases") {
		return
	}
	o, _, err := clientgoscheme.Codecs.UniversalDeserializer().Decode(c.body, nil, nil)
	lease, ok := o.(*coordinationv1.Lease)
	if err == nil && ok && lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity != "" {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.holder = *lease.Spec.HolderIdentity
	}
}

// held is the name by which it may hold the Lease.
func (l *line) held() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holder
}

// wire is the line to the API server, or to Azure.
type wire struct {
	*line
	http.RoundTripper

	azure bool
}

// RoundTrip lets the request through, if nothing goes wrong on the way.
func (w wire) RoundTrip(r *http.Request) (*http.Response, error) {
	c := call{line: w.line, r: r, kind: kubernetesKind(r)}
	if w.azure {
		c.kind, c.machine = azureKind(r)
	}
	if r.Body != nil {
		var err error
		if c.body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		_ = r.Body.Close() // all was read
		if w.w.plant.sent != nil {
			w.w.plant.sent(w.w, &c)
		}
		r = r.Clone(r.Context())
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(c.body)), int64(len(c.body))
		c.r = r
	}
	if w.dead.Err() != nil {
		return nil, errCut
	}
	return w.w.meet(c, w.send) //nolint:contextcheck // the request has it
}

// send lets a request through, until the line is cut.
func (w wire) send(c call) (*http.Response, error) {
	if w.w.plant.pretended.concerns(c) {
		return refused{status: http.StatusOK}.answer(c, string(c.body)), nil
	}
	ctx, cancel := context.WithCancel(c.r.Context())
	free := context.AfterFunc(w.dead, cancel)
	answer, err := w.RoundTripper.RoundTrip(c.r.WithContext(ctx))
	if err != nil || w.dead.Err() != nil {
		if err == nil {
			_ = answer.Body.Close() // nobody is left to read it
			err = errCut
		}
		free()
		cancel()
		return nil, err
	}
	end := func() { free(); cancel() }
	if c.kind == watching {
		end = w.watch(end, cancel)
	}
	content := answer.Body
	if !w.azure && (c.kind == watching || c.kind == reading) {
		content = &reader{ReadCloser: content, line: w.line, of: short(c.r.URL.Path)}
	}
	answer.Body = body{content, sync.OnceFunc(end)}
	return answer, nil
}

// watch remembers a watch until its end.
func (w wire) watch(end, drop func()) func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := w.next
	w.next++
	w.watches[id] = drop
	return func() {
		end()
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.watches, id)
	}
}

// body is that of an answer; end is called when it is closed.
type body struct {
	io.ReadCloser

	end func()
}

func (b body) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}
