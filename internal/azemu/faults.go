package azemu

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// The verbs of Concerns.
const (
	VerbAttach = "attach"
	VerbDetach = "detach"
)

// Concerns narrows a fault of Resource Manager down to some of the requests to
// its endpoint. The zero value leaves all of them.
type Concerns struct {
	// Scope is the path of the resource or list that is asked for, in any case. Of
	// an operation it is the VM or scale set that is being changed.
	Scope string `json:"scope,omitempty"`
	// Identity is the ARM id of an identity that a PATCH, or the operation that it
	// began, attaches or detaches.
	Identity string `json:"identity,omitempty"`
	// Verb is VerbAttach or VerbDetach: what becomes of Identity, or of any
	// identity without one.
	Verb string `json:"verb,omitempty"`
}

// asked is what a request or an operation is about.
type asked struct {
	scope string // path in lower case
	changes
}

// meets reports whether c leaves a.
func (c Concerns) meets(a asked) bool {
	if c.Scope != "" && strings.ToLower(strings.TrimSuffix(c.Scope, "/")) != a.scope {
		return false
	}
	if c.Identity == "" && c.Verb == "" {
		return true
	}
	among := func(keys []string) bool {
		return c.Identity == "" && len(keys) > 0 || slices.Contains(keys, strings.ToLower(c.Identity))
	}
	return c.Verb != VerbDetach && among(a.attach) || c.Verb != VerbAttach && among(a.detach)
}

// askedBy finds out what a request to Resource Manager is about. What it cannot
// read is about nothing: the handler refuses it.
func (e *Emulator) askedBy(r *http.Request, body []byte) asked {
	a := asked{scope: strings.ToLower(strings.TrimSuffix(r.URL.Path, "/"))}
	e.mu.Lock()
	defer e.mu.Unlock()
	if id, ok := operationID(r.URL.Path); ok {
		if op, ok := e.cloud.operations[id]; ok {
			return asked{op.on.key(), op.changes}
		}
		return a
	}
	s, ok := e.cloud.scopes[a.scope]
	if !ok || r.Method != http.MethodPatch {
		return a
	}
	var b patchBody
	if err := json.Unmarshal(body, &b); err != nil {
		return a
	}
	if next, added, err := s.goal.patched(b.Identity); err == nil {
		a.changes = s.changes(next, added)
	}
	return a
}

// faults are those in force, by endpoint.
type faults struct {
	mu  sync.Mutex // guards set
	set map[string][]Fault
}

func newFaults() *faults { return &faults{set: map[string][]Fault{}} }

// take returns the first fault of an endpoint that concerns what is asked, and
// counts it.
func (f *faults) take(endpoint string, about func() asked) (Fault, bool) {
	f.mu.Lock()
	set := slices.Clone(f.set[endpoint])
	f.mu.Unlock()
	if len(set) == 0 {
		return Fault{}, false
	}
	var a asked
	if slices.ContainsFunc(set, func(f Fault) bool { return f.Concerns != (Concerns{}) }) {
		a = about() // takes the emulator's lock: not under ours
	}
	return f.count(endpoint, a)
}

func (f *faults) count(endpoint string, a asked) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.set[endpoint] {
		fault := &f.set[endpoint][i]
		if !fault.meets(a) {
			continue
		}
		if fault.After > 0 {
			fault.After--
			continue
		}
		taken := *fault
		switch {
		case fault.Times == 1:
			f.set[endpoint] = slices.Delete(f.set[endpoint], i, i+1)
		case fault.Times > 1:
			fault.Times--
		}
		return taken, true
	}
	return Fault{}, false
}

func (f *faults) all() map[string][]Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string][]Fault{}
	for endpoint, set := range f.set {
		if len(set) > 0 {
			out[endpoint] = slices.Clone(set)
		}
	}
	return out
}

// SetFault puts a fault on an endpoint, in place of those it has. It fails for
// endpoints that do not exist and faults that make no sense.
func (e *Emulator) SetFault(endpoint string, f Fault) error { return e.setFaults(endpoint, f, false) }

// AddFault puts a fault on an endpoint beside those it has. Of several that
// concern a request it meets the first.
func (e *Emulator) AddFault(endpoint string, f Fault) error { return e.setFaults(endpoint, f, true) }

func (e *Emulator) setFaults(endpoint string, f Fault, keep bool) error {
	if err := f.check(endpoint); err != nil {
		return err
	}
	e.faults.mu.Lock()
	defer e.faults.mu.Unlock()
	var before []Fault
	if keep {
		before = e.faults.set[endpoint]
	}
	e.faults.set[endpoint] = append(slices.Clone(before), f)
	return nil
}

// ClearFault removes the faults of an endpoint. Requests that they hold go on
// being held.
func (e *Emulator) ClearFault(endpoint string) {
	e.faults.mu.Lock()
	defer e.faults.mu.Unlock()
	delete(e.faults.set, endpoint)
}

// check refuses faults that make no sense.
func (f Fault) check(endpoint string) error {
	if !slices.Contains(Endpoints(), endpoint) {
		return fmt.Errorf("endpoint %q is unknown: use one of %s", endpoint, strings.Join(Endpoints(), ", "))
	}
	for why, wrong := range map[string]bool{
		"want a status of 200 to 599":                        f.Status != 0 && (f.Status < 200 || f.Status > 599),
		"want no negative delay, retryAfter, times or after": f.Delay < 0 || f.RetryAfter < 0 || f.Times < 0 || f.After < 0,
		"carried is a number of changes, or -1 for all":      f.Carried < -1,
		"effect wants a status, cut or hang":                 f.Effect && f.Status == 0 && !f.Cut && !f.Hang,
		"verb is " + VerbAttach + " or " + VerbDetach:        f.Verb != "" && f.Verb != VerbAttach && f.Verb != VerbDetach,
	} {
		if wrong {
			return fmt.Errorf("fault on %s: %s", endpoint, why)
		}
	}
	return f.suits(endpoint)
}

// suits refuses what does not go with the endpoint.
func (f Fault) suits(endpoint string) error {
	switch {
	case endpoint == EndpointOperationEnd && (f.Hang || f.Cut || f.Effect || f.Before != nil):
		return fmt.Errorf("fault on %s: it takes delay, status, code, message, carried and named", endpoint)
	case endpoint != EndpointOperationEnd && (f.Carried != 0 || f.Named):
		return fmt.Errorf("fault on %s: carried and named are for %s", endpoint, EndpointOperationEnd)
	case f.Concerns != (Concerns{}) && !strings.HasPrefix(endpoint, "arm."):
		return fmt.Errorf("fault on %s: scope, identity and verb are for Resource Manager", endpoint)
	default:
		return nil
	}
}
