package azemu

import (
	"crypto/subtle"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// appTokenBody is the answer of the v2.0 token endpoint: numbers, not strings.
type appTokenBody struct {
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	ExtExpiresIn int64  `json:"ext_expires_in"`
	AccessToken  string `json:"access_token"`
}

// oldAppTokenBody is the answer of the v1.0 token endpoint: strings.
type oldAppTokenBody struct {
	TokenType    string `json:"token_type"`
	ExpiresIn    string `json:"expires_in"`
	ExtExpiresIn string `json:"ext_expires_in"`
	ExpiresOn    string `json:"expires_on"`
	NotBefore    string `json:"not_before"`
	Resource     string `json:"resource"`
	AccessToken  string `json:"access_token"`
}

// appToken is the client credentials flow, of the v2.0 endpoint (scope) or the
// v1.0 one (resource).
func (e *Emulator) appToken(r *http.Request, tenant, version string) (any, *entraError) {
	tenant, refused := e.knownTenant(tenant)
	if refused != nil {
		return nil, refused
	}
	if err := r.ParseForm(); err != nil {
		return nil, refuse(http.StatusBadRequest, "invalid_request", 900144, "The request body cannot be read: %s.", err)
	}
	id, secret := r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	if user, password, ok := basicAuth(r); ok {
		id, secret = user, password
	}
	target := "scope"
	if version == "1.0" {
		target = "resource"
	}
	for _, p := range [][2]string{{"grant_type", r.PostForm.Get("grant_type")}, {"client_id", id}, {target, r.PostForm.Get(target)}} {
		if p[1] == "" {
			return nil, refuse(http.StatusBadRequest, "invalid_request", 900144, "The request body must contain the following parameter: '%s'.", p[0])
		}
	}
	if grant := r.PostForm.Get("grant_type"); grant != "client_credentials" {
		return nil, refuse(http.StatusBadRequest, "unsupported_grant_type", 70003, "The app requested an unsupported grant type '%s'.", grant)
	}
	app, refused := e.signIn(r, tenant, id, secret)
	if refused != nil {
		return nil, refused
	}
	resource := r.PostForm.Get("resource")
	if version == "2.0" {
		if resource, refused = resourceOf(r.PostForm.Get("scope")); refused != nil {
			return nil, refused
		}
	}
	return e.appAnswer(r.Host, app.principal(tenant, e.tenant()), resource, version)
}

// appAnswer issues the token.
func (e *Emulator) appAnswer(host string, p principal, resource, version string) (any, *entraError) {
	issuer := "https://" + host + "/" + p.tenant + "/v2.0"
	if version == "1.0" {
		issuer = "https://sts.windows.net/" + p.tenant + "/"
	}
	t, err := e.keys.issue(p, resource, issuer, version, e.config.AppTokenLifetime, time.Now())
	if err != nil {
		return nil, refuse(http.StatusInternalServerError, "server_error", 90033, "%s.", err)
	}
	lifetime := int64(e.config.AppTokenLifetime/time.Second) - 1 // as Entra ID counts
	if version == "2.0" {
		return appTokenBody{TokenType: "Bearer", ExpiresIn: lifetime, ExtExpiresIn: lifetime, AccessToken: t.token}, nil
	}
	in := strconv.FormatInt(lifetime, 10)
	return oldAppTokenBody{
		TokenType: "Bearer", ExpiresIn: in, ExtExpiresIn: in, Resource: resource, AccessToken: t.token,
		ExpiresOn: strconv.FormatInt(t.expiry.Unix(), 10), NotBefore: strconv.FormatInt(t.notBefore.Unix(), 10),
	}, nil
}

// principal is who the app is in a tenant: its object id is another one in each.
func (a App) principal(tenant, home string) principal {
	p := principal{clientID: a.ClientID, objectID: a.ObjectID, tenant: tenant}
	if !strings.EqualFold(tenant, home) {
		p.objectID = guid("app", a.ClientID+" in "+strings.ToLower(tenant))
	}
	return p
}

// signIn finds the app in the tenant and checks its credential. A user-assigned
// identity is an app too, with federated credentials and no others.
func (e *Emulator) signIn(r *http.Request, tenant, id, secret string) (App, *entraError) {
	e.mu.Lock()
	app, ok := e.cloud.clientOf(id)
	ok = ok && e.cloud.isIn(app, tenant)
	e.mu.Unlock()
	assertion := r.PostForm.Get("client_assertion")
	switch {
	case !ok:
		return App{}, refuse(http.StatusBadRequest, "unauthorized_client", 700016,
			"Application with identifier '%s' was not found in the directory '%s'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant.", id, tenant)
	case assertion != "":
		if kind := r.PostForm.Get("client_assertion_type"); kind != assertionType {
			return App{}, refuse(http.StatusBadRequest, "invalid_request", 900144, "The request body must contain the following parameter: 'client_assertion_type', with the value '%s'.", assertionType)
		}
		if !signedByItself(assertion, app.ClientID) {
			return app, e.federated(r.Context(), app.ClientID, assertion, app.FederatedCredentials, time.Now())
		}
		return app, app.verify(assertion, []string{
			"https://" + r.Host + "/" + tenant + "/oauth2/v2.0/token",
			"https://" + r.Host + "/" + tenant + "/oauth2/token",
			"https://" + r.Host + "/" + tenant + "/v2.0",
		}, time.Now())
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
