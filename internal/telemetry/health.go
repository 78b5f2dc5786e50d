package telemetry

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
)

// Health is what a program knows of its own readiness: a set of named checks,
// each red, with a reason a person can act on, until it is reported green.
type Health struct {
	mu     sync.Mutex
	checks map[string]string // reason by name; empty is green. Guarded by mu.
}

// NewHealth starts with every named check red, for the reason "starting".
func NewHealth(checks ...string) *Health {
	h := &Health{checks: make(map[string]string, len(checks))}
	for _, c := range checks {
		h.checks[c] = "starting"
	}
	return h
}

// Set reports a check: green for a nil error, else red for its text. It reports
// whether that changed anything, so that the caller logs each change once.
func (h *Health) Set(check string, err error) (changed bool) {
	reason := ""
	if err != nil {
		reason = err.Error()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	old, known := h.checks[check]
	h.checks[check] = reason
	return !known || old != reason
}

// Ready reports whether every check is green, and one line for each.
func (h *Health) Ready() (bool, []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	ready := true
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(h.checks)) {
		reason := h.checks[name]
		if reason == "" {
			lines = append(lines, "[+] "+name)
			continue
		}
		ready = false
		lines = append(lines, "[-] "+name+": "+reason)
	}
	return ready, lines
}

// Register adds /healthz, which answers as long as the process can, and
// /readyz, which answers 200 or 503 and names each check.
func (h *Health) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		ready, lines := h.Ready()
		if !ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		for _, l := range lines {
			_, _ = fmt.Fprintln(w, l)
		}
	})
}
