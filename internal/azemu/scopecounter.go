package azemu

import (
	"maps"
	"net/http"
	"strings"
)

// ScopeCounter counts what happened to one VM or scale set, or to a list of them.
type ScopeCounter struct {
	// Gets and Lists are the reads that came.
	Gets  int `json:"gets,omitempty"`
	Lists int `json:"lists,omitempty"`
	// Patches are the PATCHes that came, Accepted those that began an operation,
	// whatever was answered.
	Patches  int `json:"patches,omitempty"`
	Accepted int `json:"accepted,omitempty"`
	// Refused counts the PATCHes that were answered with an error, by its code, and
	// under "none" those that were not answered.
	Refused map[string]int `json:"refused,omitempty"`
	// Operations counts those that ended, by the state in which they did.
	Operations map[string]int `json:"operations,omitempty"`
	// Edits are the operations that somebody else began: see Edit.
	Edits int `json:"edits,omitempty"`
}

// ScopeCounters counts what happened to VMs, scale sets and lists of them, by path
// in lower case.
func (e *Emulator) ScopeCounters() map[string]ScopeCounter {
	t := e.traffic
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[string]ScopeCounter, len(t.scopes))
	for path, c := range t.scopes {
		copied := *c
		copied.Refused, copied.Operations = maps.Clone(c.Refused), maps.Clone(c.Operations)
		out[path] = copied
	}
	return out
}

// count changes the counter of a path.
func (t *traffic) count(path string, change func(*ScopeCounter)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	path = strings.ToLower(strings.TrimSuffix(path, "/"))
	c, ok := t.scopes[path]
	if !ok {
		c = &ScopeCounter{Refused: map[string]int{}, Operations: map[string]int{}}
		t.scopes[path] = c
	}
	change(c)
}

// countRequest counts a request that was answered, or was not.
func (t *traffic) countRequest(ev Event) {
	switch ev.Endpoint {
	case EndpointVMGet, EndpointVMSSGet:
		t.count(ev.Path, func(c *ScopeCounter) { c.Gets++ })
	case EndpointVMList, EndpointVMSSList:
		t.count(ev.Path, func(c *ScopeCounter) { c.Lists++ })
	case EndpointVMPatch, EndpointVMSSPatch:
		t.count(ev.Path, func(c *ScopeCounter) {
			c.Patches++
			switch {
			case ev.Status == 0:
				c.Refused["none"]++
			case ev.Status >= http.StatusBadRequest:
				c.Refused[ev.Code]++
			}
		})
	}
}
