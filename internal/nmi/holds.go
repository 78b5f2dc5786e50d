package nmi

import (
	"net/netip"
	"sync"
)

// Limits on requests that are held for something on its way.
const (
	maxHeldByPod = 32
	maxHeld      = 4096
)

// holds counts the requests that are held.
type holds struct {
	mu    sync.Mutex
	total int                // guarded by mu
	by    map[netip.Addr]int // by the address of the pod; guarded by mu
}

// begin takes a place, and reports false when there is none.
func (h *holds) begin(source netip.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.total >= maxHeld || h.by[source] >= maxHeldByPod {
		return false
	}
	h.total++
	h.by[source]++
	return true
}

// end gives a place back.
func (h *holds) end(source netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.total--
	if h.by[source]--; h.by[source] == 0 {
		delete(h.by, source)
	}
}
