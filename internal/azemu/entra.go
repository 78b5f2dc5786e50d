package azemu

import (
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/url"
	"slices"
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
		return EndpointEntraToken, entra(func(r *http.Request) (any, *entraError) { return e.appToken(r, tenant) })
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
	if err := e.checkTenant(tenant); err != nil {
		return nil, err
	}
	base := "https://" + r.Host + "/" + e.tenant()
	return map[string]any{
		"issuer":                                base + "/v2.0",
		"authorization_endpoint":                base + "/oauth2/v2.0/authorize",
		"token_endpoint":                        base + "/oauth2/v2.0/token",
		"jwks_uri":                              base + "/discovery/v2.0/keys",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "client_secret_basic"},
		"response_types_supported":              []string{"code", "id_token", "code id_token", "id_token token"},
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
	}, nil
}

func (e *Emulator) checkTenant(tenant string) *entraError {
	if strings.EqualFold(tenant, e.tenant()) {
		return nil
	}
	return refuse(http.StatusBadRequest, "invalid_request", 90002,
		"Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.", tenant)
}

// appTokenBody is the answer of the token endpoint: numbers, not strings.
type appTokenBody struct {
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	ExtExpiresIn int64  `json:"ext_expires_in"`
	AccessToken  string `json:"access_token"`
}

// appToken is the client credentials flow.
func (e *Emulator) appToken(r *http.Request, tenant string) (any, *entraError) {
	if err := e.checkTenant(tenant); err != nil {
		return nil, err
	}
	if err := r.ParseForm(); err != nil {
		return nil, refuse(http.StatusBadRequest, "invalid_request", 900144, "The request body cannot be read: %s.", err)
	}
	id, secret := r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	if user, password, ok := basicAuth(r); ok {
		id, secret = user, password
	}
	for _, p := range [][2]string{{"grant_type", r.PostForm.Get("grant_type")}, {"client_id", id}, {"scope", r.PostForm.Get("scope")}} {
		if p[1] == "" {
			return nil, refuse(http.StatusBadRequest, "invalid_request", 900144, "The request body must contain the following parameter: '%s'.", p[0])
		}
	}
	if grant := r.PostForm.Get("grant_type"); grant != "client_credentials" {
		return nil, refuse(http.StatusBadRequest, "unsupported_grant_type", 70003, "The app requested an unsupported grant type '%s'.", grant)
	}
	app, refused := e.signIn(id, secret, r.PostForm)
	if refused != nil {
		return nil, refused
	}
	resource, refused := resourceOf(r.PostForm.Get("scope"))
	if refused != nil {
		return nil, refused
	}
	p := principal{clientID: app.ClientID, objectID: app.ObjectID, tenant: e.tenant()}
	t, err := e.keys.issue(p, resource, "https://"+r.Host+"/"+p.tenant+"/v2.0", "2.0", e.config.AppTokenLifetime, time.Now())
	if err != nil {
		return nil, refuse(http.StatusInternalServerError, "server_error", 90033, "%s.", err)
	}
	lifetime := int64(e.config.AppTokenLifetime/time.Second) - 1 // as Entra ID counts
	return appTokenBody{TokenType: "Bearer", ExpiresIn: lifetime, ExtExpiresIn: lifetime, AccessToken: t.token}, nil
}

// signIn finds the app and checks its credential. Certificates and federated
// credentials, both client_assertion, are to come in here.
func (e *Emulator) signIn(id, secret string, form url.Values) (App, *entraError) {
	e.mu.Lock()
	app, ok := e.cloud.apps[strings.ToLower(id)]
	e.mu.Unlock()
	switch {
	case !ok:
		return App{}, refuse(http.StatusBadRequest, "unauthorized_client", 700016,
			"Application with identifier '%s' was not found in the directory '%s'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant.", id, e.tenant())
	case form.Get("client_assertion") != "":
		return App{}, refuse(http.StatusUnauthorized, "invalid_client", 700027, "Client assertion failed signature validation: the emulator accepts secrets only.")
	case secret == "":
		return App{}, refuse(http.StatusUnauthorized, "invalid_client", 7000216, "'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type.")
	case !slices.ContainsFunc(app.Secrets, func(s string) bool { return subtle.ConstantTimeCompare([]byte(s), []byte(secret)) == 1 }):
		return App{}, refuse(http.StatusUnauthorized, "invalid_client", 7000215,
			"Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'.", id)
	default:
		return app, nil
	}
}

// basicAuth reads client id and secret from the header, form-encoded as OAuth
// wants them (RFC 6749, 2.3.1).
func basicAuth(r *http.Request) (id, secret string, ok bool) {
	user, password, ok := r.BasicAuth()
	if !ok {
		return "", "", false
	}
	id, err := url.QueryUnescape(user)
	if err != nil {
		return "", "", false
	}
	secret, err = url.QueryUnescape(password)
	return id, secret, err == nil
}

// resourceOf finds the resource in a list of scopes, verbatim: a slash before
// "/.default" belongs to it. Scopes of OpenID, which MSAL adds, do not count.
func resourceOf(scopes string) (string, *entraError) {
	for scope := range strings.FieldsSeq(scopes) {
		switch scope {
		case "openid", "offline_access", "profile", "email":
			continue
		}
		if resource, ok := strings.CutSuffix(scope, "/.default"); ok && resource != "" {
			return resource, nil
		}
		break
	}
	return "", refuse(http.StatusBadRequest, "invalid_scope", 1002012,
		"The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).", scopes)
}
