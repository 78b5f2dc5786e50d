package azemu

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/podid-io/podid/internal/imds"
)

type imdsErrorBody struct {
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

// IMDS serves the metadata services of all machines: each caller gets that of
// the machine whose sources hold its address.
func (e *Emulator) IMDS() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.serveIMDS(w, r, func(c *cloud) *machine {
			from, err := netip.ParseAddrPort(r.RemoteAddr)
			if err != nil {
				return nil
			}
			return c.machineAt(from.Addr().Unmap())
		})
	})
}

// IMDSOf serves the metadata service of one machine, whoever asks. The machine
// may come later; until then every answer is 404.
func (e *Emulator) IMDSOf(machineName string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.serveIMDS(w, r, func(c *cloud) *machine { return c.machineNamed(machineName) })
	})
}

func (e *Emulator) serveIMDS(w http.ResponseWriter, r *http.Request, find func(*cloud) *machine) {
	e.mu.Lock()
	m := find(e.cloud)
	e.mu.Unlock()
	endpoint, h := e.imdsRoute(r, m)
	name := ""
	if m != nil {
		name = m.name
	}
	e.observe(w, r, endpoint, name, func(w http.ResponseWriter, r *http.Request) {
		if m == nil {
			imds.WriteError(w, imds.Errorf(imds.NoSuchPath, "no machine of the emulator is meant by a request from %s", r.RemoteAddr))
			e.log.InfoContext(r.Context(), "request for the metadata of no machine", "address", r.RemoteAddr)
			return
		}
		e.limited(m, endpoint, e.faulty(endpoint, h))(w, r)
	})
}

// imdsRoute finds what a request to IMDS asks for. An unknown path is 404
// before any header is looked at. The case of a path does not
// count, and repeated slashes are not repaired.
func (e *Emulator) imdsRoute(r *http.Request, m *machine) (string, http.HandlerFunc) {
	path := strings.ToLower(r.URL.Path)
	switch {
	case path == imds.TokenPath:
		return EndpointIMDSToken, func(w http.ResponseWriter, r *http.Request) {
			if err := e.imdsToken(w, r, m); err != nil {
				imds.WriteError(w, err)
			}
		}
	case path == "/metadata/identity/info":
		return EndpointIMDSInfo, guarded(func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, http.StatusOK, map[string]string{"tenantId": e.tenant()})
		})
	case path == "/metadata/versions":
		return EndpointIMDSVersions, func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, http.StatusOK, map[string][]string{"apiVersions": imdsVersions()})
		}
	case path == "/metadata/instance" || strings.HasPrefix(path, "/metadata/instance/"):
		return EndpointIMDSInstance, guarded(func(w http.ResponseWriter, r *http.Request) { e.imdsInstance(w, r, m) })
	case path == "/metadata/attested/document":
		return EndpointIMDSAttested, guarded(func(w http.ResponseWriter, r *http.Request) { e.imdsAttested(w, r, m) })
	case path == "/metadata/scheduledevents":
		return EndpointIMDSEvents, guarded(imdsEvents)
	case path == "/metadata/loadbalancer":
		return EndpointIMDSLoadBalancer, guarded(imdsLoadBalancer)
	default:
		return EndpointIMDSOther, func(w http.ResponseWriter, r *http.Request) {
			imds.WriteError(w, imds.Errorf(imds.NoSuchPath, "Not found"))
			e.log.InfoContext(r.Context(), "request not understood", "method", r.Method, "path", r.URL.Path, "machine", m.name)
		}
	}
}

// imdsVersions are the documented api-versions, the newest last.
func imdsVersions() []string {
	return []string{
		"2017-03-01", "2017-04-02", "2017-08-01", "2017-10-01", "2017-12-01", "2018-02-01", "2018-04-02", "2018-10-01",
		"2019-02-01", "2019-03-11", "2019-04-30", "2019-06-01", "2019-06-04", "2019-08-01", "2019-08-15", "2019-11-01",
		"2020-06-01", "2020-07-15", "2020-09-01", "2020-10-01", "2020-12-01", "2021-01-01", "2021-02-01", "2021-03-01",
		"2021-05-01", "2021-08-01", "2021-10-01", "2021-11-01", "2021-11-15", "2021-12-13", "2023-07-01", "2023-11-15",
		"2024-03-15", "2024-07-17", "2025-04-07",
	}
}

// admissible checks what every metadata request but a listing of versions needs.
func admissible(r *http.Request) error {
	if r.Method != http.MethodGet {
		return imds.Errorf(imds.MethodNotAllowed, "method %s is not allowed: use GET", r.Method)
	}
	if len(r.Header["X-Forwarded-For"]) > 0 {
		return imds.Errorf(imds.BadRequest, "requests with the header X-Forwarded-For are refused")
	}
	if v := r.Header["Metadata"]; len(v) != 1 || v[0] != "true" {
		return imds.Errorf(imds.BadRequest, "Required metadata header not specified")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return imds.Errorf(imds.BadRequest, "the query cannot be decoded")
	}
	seen := map[string]bool{}
	for name, values := range query {
		if name = strings.ToLower(name); len(values) > 1 || seen[name] {
			return imds.Errorf(imds.BadRequest, "the query parameter %s is given twice", name)
		}
		seen[name] = true
	}
	return nil
}

// guarded asks for an admissible request and an api-version.
func guarded(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := admissible(r); err != nil {
			imds.WriteError(w, err)
			return
		}
		if slices.Contains(imdsVersions(), r.URL.Query().Get("api-version")) {
			h(w, r)
			return
		}
		newest := imdsVersions()
		writeJSON(w, http.StatusBadRequest, map[string]any{
			"error":           "Bad request. api-version is invalid or was not specified in the request. For more information refer to aka.ms/azureimds",
			"newest-versions": []string{newest[len(newest)-1], newest[len(newest)-2], newest[len(newest)-3]},
		})
	}
}

func (e *Emulator) tenant() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.cloud.tenant
}
