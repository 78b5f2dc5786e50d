package nmi

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/podid-io/podid/internal/identity"
)

const (
	// remembered is how long a resource counts as asked for.
	remembered = 24 * time.Hour
	// longestHistory bounds what is remembered, and longestPrefetch what one pod
	// gets before it asks.
	longestHistory  = 4096
	longestPrefetch = 8
)

// history remembers which resources the identities were asked for on this node.
type history struct {
	mu   sync.RWMutex
	last map[use]*atomic.Int64 // Unix seconds, by use; the map is guarded by mu
}

// use is an identity and a resource that it was asked for.
type use struct{ namespace, name, resource string }

func newHistory() *history { return &history{last: make(map[use]*atomic.Int64)} }

// asked remembers that a token was handed out.
func (h *history) asked(id identity.Identity, resource string, now time.Time) {
	u := use{id.Namespace, id.Name, resource}
	h.mu.RLock()
	last, ok := h.last[u]
	h.mu.RUnlock()
	if ok {
		last.Store(now.Unix())
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.last) >= longestHistory {
		h.forget(now)
	}
	if len(h.last) < longestHistory {
		last = new(atomic.Int64)
		last.Store(now.Unix())
		h.last[u] = last
	}
}

// forget drops what is too old. h.mu is held.
func (h *history) forget(now time.Time) {
	oldest := now.Add(-remembered).Unix()
	for u, last := range h.last {
		if last.Load() < oldest {
			delete(h.last, u)
		}
	}
}

// of is what an identity was asked for in the last day, the latest first.
func (h *history) of(id identity.Identity, now time.Time) []string {
	type dated struct {
		resource string
		at       int64
	}
	var found []dated
	oldest := now.Add(-remembered).Unix()
	h.mu.RLock()
	for u, last := range h.last {
		if at := last.Load(); u.namespace == id.Namespace && u.name == id.Name && at >= oldest {
			found = append(found, dated{u.resource, at})
		}
	}
	h.mu.RUnlock()
	slices.SortFunc(found, func(a, b dated) int { return cmp.Or(cmp.Compare(b.at, a.at), cmp.Compare(a.resource, b.resource)) })
	out := make([]string, 0, longestPrefetch)
	for _, f := range found[:min(len(found), longestPrefetch)] {
		out = append(out, f.resource)
	}
	return out
}
