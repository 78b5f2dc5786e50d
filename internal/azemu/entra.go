package azemu

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
)

// entraError is an answer of Entra ID that is not a success. number is that of
// AADSTS; 0 for a fault.
type entraError struct {
	status  int
	code    string // of OAuth
	number  int
	message string
}

func (e *entraError) Error() string { return fmt.Sprintf("AADSTS%d: %s", e.number, e.message) }

func refuse(status int, code string, number int, format string, args ...any) *entraError {
	return &entraError{status, code, number, fmt.Sprintf(format, args...)}
}

// entraRoute finds what a request to Entra ID asks for; nil when it is none.
func (e *Emulator) entraRoute(r *http.Request) (string, http.HandlerFunc) {
	tenant, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch r.Method + " " + rest {
	case "GET discovery/instance":
		return EndpointEntraDiscovery, entra(e.discoverInstance)
	case "GET v2.0/.well-known/openid-configuration":
		return EndpointEntraDiscovery, entra(func(r *http.Request) (any, *entraError) { return e.openIDConfiguration(r, tenant) })
	case "GET discovery/v2.0/keys", "GET discovery/keys":
		return EndpointEntraKeys, entra(func(*http.Request) (any, *entraError) { return e.keys.set(), nil })
	case "POST oauth2/v2.0/token":
		return EndpointEntraToken, entra(func(r *http.Request) (any, *entraError) { return e.appToken(r, tenant, "2.0") })
	case "POST oauth2/token":
		return EndpointEntraToken, entra(func(r *http.Request) (any, *entraError) { return e.appToken(r, tenant, "1.0") })
	default:
		return "", nil
	}
}

func entra(h func(*http.Request) (any, *entraError)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := h(r)
		if err != nil {
			writeEntraError(w, r, err)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		writeJSON(w, http.StatusOK, body)
	}
}

type entraErrorBody struct {
	Error         string `json:"error"`
	Description   string `json:"error_description"`
	Codes         []int  `json:"error_codes"`
	Timestamp     string `json:"timestamp"`
	TraceID       string `json:"trace_id"`
	CorrelationID string `json:"correlation_id"`
	URI           string `json:"error_uri,omitempty"`
}

func writeEntraError(w http.ResponseWriter, r *http.Request, e *entraError) {
	b := entraErrorBody{
		Error: e.code, Codes: []int{}, Timestamp: time.Now().UTC().Format("2006-01-02 15:04:05Z"),
		TraceID: uuid.NewString(), CorrelationID: r.Header.Get("Client-Request-Id"),
	}
	if b.CorrelationID == "" {
		b.CorrelationID = uuid.NewString()
	}
	message := e.message
	if e.number != 0 {
		message = e.Error()
		b.Codes = []int{e.number}
		b.URI = fmt.Sprintf("https://%s/error?code=%d", r.Host, e.number)
	}
	b.Description = fmt.Sprintf("%s Trace ID: %s Correlation ID: %s Timestamp: %s", message, b.TraceID, b.CorrelationID, b.Timestamp)
	writeJSON(w, e.status, b)
}

// discoverInstance tells clients that the host they use is one of Entra ID's.
func (e *Emulator) discoverInstance(r *http.Request) (any, *entraError) {
	authority, err := url.Parse(r.URL.Query().Get("authorization_endpoint"))
	if err != nil || authority.Host != r.Host {
		return nil, refuse(http.StatusBadRequest, "invalid_instance", 50049, "Unknown or invalid instance.")
	}
	tenant, _, _ := strings.Cut(strings.TrimPrefix(authority.Path, "/"), "/")
	return map[string]any{
		"tenant_discovery_endpoint": "https://" + r.Host + "/" + tenant + "/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata":                  []any{map[string]any{"preferred_network": r.Host, "preferred_cache": r.Host, "aliases": []string{r.Host}}},
	}, nil
}

func (e *Emulator) openIDConfiguration(r *http.Request, tenant string) (any, *entraError) {
	tenant, refused := e.knownTenant(tenant)
	if refused != nil {
		return nil, refused
	}
	base := "https://" + r.Host + "/" + tenant
	return map[string]any{
		"issuer":                                base + "/v2.0",
		"authorization_endpoint":                base + "/oauth2/v2.0/authorize",
		"token_endpoint":                        base + "/oauth2/v2.0/token",
		"jwks_uri":                              base + "/discovery/v2.0/keys",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"response_types_supported":              []string{"code", "id_token", "code id_token", "id_token token"},
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
	}, nil
}

// knownTenant is the id of a tenant as the state writes it.
func (e *Emulator) knownTenant(tenant string) (string, *entraError) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if known, ok := e.cloud.knownTenant(tenant); ok {
		return known, nil
	}
	return "", refuse(http.StatusBadRequest, "invalid_request", 90002,
		"Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.", tenant)
}
