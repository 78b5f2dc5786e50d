package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
)

// RegisterLevel adds /log-level: GET tells the level of the log, PUT with the
// name of a level sets it. Only callers on this machine's loopback interface, or
// on a Unix socket, are heard.
func RegisterLevel(mux *http.ServeMux, level *slog.LevelVar, log *slog.Logger) {
	mux.HandleFunc("GET /log-level", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, level.Level())
	})
	mux.HandleFunc("PUT /log-level", func(w http.ResponseWriter, r *http.Request) {
		if !fromHere(r.RemoteAddr) {
			http.Error(w, "set the log level from the node itself", http.StatusForbidden)
			return
		}
		name, err := io.ReadAll(io.LimitReader(r.Body, 16))
		if err == nil {
			err = setLevel(level, strings.TrimSpace(string(name)))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		log.InfoContext(r.Context(), "the log level was set", "level", level.Level().String())
		_, _ = fmt.Fprintln(w, level.Level())
	})
}

// fromHere reports whether a request came by loopback or a Unix socket, which
// has no address.
func fromHere(remote string) bool {
	if remote == "" || strings.HasPrefix(remote, "@") {
		return true
	}
	a, err := netip.ParseAddrPort(remote)
	return err == nil && a.Addr().IsLoopback()
}
