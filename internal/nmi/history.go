package nmi

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/podid-io/podid/internal/identity"
)

const (
	// remembered is how long a resource counts as asked for.
	remembered = 24 * time.Hour
	// longestHistory bounds what is remembered in all, longestOfOne of one
	// identity, and longestPrefetch what one pod gets before it asks.
	longestHistory  = 4096
	longestOfOne    = 2 * longestPrefetch
	longestPrefetch = 8
	// sweepPause is how often a full history is looked through for what is too
	// old, and how long a resource is remembered before another of its identity
	// takes its place: not with every request that finds no room.
	sweepPause = time.Minute
)

// history remembers which resources the identities of pods were asked for on this
// node.
type history struct {
	mu    sync.RWMutex
	last  map[named]map[string]*atomic.Int64 // Unix seconds, by resource; the maps are guarded by mu
	total int                                // of resources; guarded by mu
	swept time.Time                          // guarded by mu
}

// named is an AzureIdentity.
type named struct{ namespace, name string }

func newHistory() *history { return &history{last: make(map[named]map[string]*atomic.Int64)} }

// asked remembers that a token was handed out.
func (h *history) asked(id identity.Identity, resource string, now time.Time) {
	n := named{id.Namespace, id.Name}
	h.mu.RLock()
	last, ok := h.last[n][resource]
	room := ok || h.hasRoom(h.last[n], now)
	h.mu.RUnlock()
	switch {
	case ok:
		last.Store(now.Unix())
		return
	case !room:
		return // without keeping others from reading
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	of := h.last[n]
	if _, ok := of[resource]; ok || !h.hasRoom(of, now) {
		return
	}
	switch {
	case len(of) >= longestOfOne:
		h.forgetOldest(of)
	case h.total >= longestHistory:
		h.forget(now)
		of = h.last[n]
	}
	if h.total >= longestHistory {
		return
	}
	if of == nil {
		of = make(map[string]*atomic.Int64)
		h.last[n] = of
	}
	last = new(atomic.Int64)
	last.Store(now.Unix())
	of[strings.Clone(resource)] = last // alone, without the request that it is part of
	h.total++
}

// hasRoom reports whether one more of an identity could be remembered, be it in
// place of something. h.mu is held, for reading at least.
func (h *history) hasRoom(of map[string]*atomic.Int64, now time.Time) bool {
	if len(of) >= longestOfOne {
		_, at := oldest(of)
		return now.Unix()-at >= int64(sweepPause/time.Second)
	}
	return h.total < longestHistory || now.Sub(h.swept) >= sweepPause
}

// oldest is what one identity was not asked for the longest, and since when.
func oldest(of map[string]*atomic.Int64) (resource string, at int64) {
	at = math.MaxInt64
	for r, last := range of {
		if t := last.Load(); t < at {
			resource, at = r, t
		}
	}
	return resource, at
}

// forgetOldest drops what one identity was not asked for the longest. h.mu is
// held.
func (h *history) forgetOldest(of map[string]*atomic.Int64) {
	resource, _ := oldest(of)
	delete(of, resource)
	h.total--
}

// forget drops what is too old. h.mu is held.
func (h *history) forget(now time.Time) {
	h.swept = now
	before := now.Add(-remembered).Unix()
	for n, of := range h.last {
		for resource, last := range of {
			if last.Load() < before {
				delete(of, resource)
				h.total--
			}
		}
		if len(of) == 0 {
			delete(h.last, n)
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
	for resource, last := range h.last[named{id.Namespace, id.Name}] {
		if at := last.Load(); at >= oldest {
			found = append(found, dated{resource, at})
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
