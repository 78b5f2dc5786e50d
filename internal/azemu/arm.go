package azemu

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// armCall is a request to Resource Manager that was understood and allowed.
type armCall struct {
	r         *http.Request
	id        armID    // of the resource or list
	operation string   // id of an operation, for the operations endpoint
	role      rolePath // for role assignments and definitions
	caller    string   // object id of who calls
}

type armReply struct {
	status int
	header http.Header
	body   any // nil for none
}

type armHandler func(*armCall) (armReply, error)

// armError is an answer of Resource Manager that is not a success.
type armError struct {
	status        int
	code, message string
}

func (e *armError) Error() string { return e.code + ": " + e.message }

type armErrorBody struct {
	Error armErrorDetail `json:"error"`
}

type armErrorDetail struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// armRoute finds what a request to Resource Manager asks for. Everything that
// it does not know is EndpointARMOther, which answers with an error.
func (e *Emulator) armRoute(r *http.Request) (string, http.HandlerFunc) {
	c := &armCall{r: r}
	if op, ok := operationID(r.URL.Path); ok && r.Method == http.MethodGet {
		c.operation = op
		return EndpointOperationGet, e.arm(EndpointOperationGet, c, e.getOperation)
	}
	var ok bool
	if c.role, ok = parseRolePath(r.URL.Path); ok {
		return e.roleRoute(c)
	}
	id, ok := parseARMID(r.URL.Path)
	if !ok {
		return EndpointARMOther, e.arm(EndpointARMOther, c, e.unknownPath)
	}
	c.id = id
	what := r.Method + " " + id.resourceType()
	switch {
	case id.name == "":
		what += "/list"
	case id.child != "":
		what += "/" + strings.ToLower(id.childKind)
	case id.childKind != "":
		what += "/" + strings.ToLower(id.childKind) + "/list"
	}
	known, ok := map[string]struct {
		endpoint string
		handle   armHandler
	}{
		"GET " + kindVM:                        {EndpointVMGet, e.getScope},
		"GET " + kindVM + "/list":              {EndpointVMList, e.listScopes},
		"PATCH " + kindVM:                      {EndpointVMPatch, e.patchScope},
		"GET " + kindVMSS:                      {EndpointVMSSGet, e.getScope},
		"GET " + kindVMSS + "/list":            {EndpointVMSSList, e.listScopes},
		"PATCH " + kindVMSS:                    {EndpointVMSSPatch, e.patchScope},
		"GET " + kindVMSS + "/virtualmachines": {EndpointVMSSVMGet, e.getInstance},
		"GET " + kindIdentity:                  {EndpointIdentityGet, e.getIdentity},
		"PUT " + kindIdentity:                  {EndpointIdentityPut, e.putIdentity},
		"DELETE " + kindIdentity:               {EndpointIdentityDelete, e.deleteIdentity},
		"GET " + kindIdentity + "/list":        {EndpointIdentityList, e.listIdentities},
	}[what]
	if !ok {
		return EndpointARMOther, e.arm(EndpointARMOther, c, e.unknownResource)
	}
	return known.endpoint, e.arm(known.endpoint, c, known.handle)
}

// operationID reads /subscriptions/S/providers/Microsoft.Compute/locations/L/operations/ID.
func operationID(path string) (string, bool) {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if len(parts) != 8 {
		return "", false
	}
	fixed := []string{parts[0], parts[2], parts[3], parts[4], parts[6]}
	ok := slices.EqualFunc(fixed, []string{"subscriptions", "providers", "Microsoft.Compute", "locations", "operations"}, strings.EqualFold)
	return parts[7], ok
}

// arm makes a handler of h: api-version, token and limits first, JSON and headers
// after.
func (e *Emulator) arm(endpoint string, c *armCall, h armHandler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c.r = r
		id := uuid.NewString()
		w.Header().Set("X-Ms-Request-Id", id)
		w.Header().Set("X-Ms-Correlation-Request-Id", id)
		if r.URL.Query().Get("api-version") == "" {
			writeARMError(w, invalid("MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests."))
			return
		}
		caller, err := e.authenticate(r)
		if err != nil {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(
				`Bearer authorization_uri="https://%s/%s", error="invalid_token", error_description=%q`, r.Host, e.tenant(), err.Error()))
			writeARMError(w, err)
			return
		}
		c.caller = caller
		if !e.admit(w, endpoint, c) {
			return
		}
		if err := e.permitted(c); err != nil {
			writeARMError(w, err)
			return
		}
		reply, err := h(c)
		if err != nil {
			writeARMError(w, err)
			return
		}
		maps.Copy(w.Header(), reply.header)
		writeJSON(w, reply.status, reply.body)
	}
}

// authenticate asks for a token of this emulator for management and returns the
// object id of its holder.
func (e *Emulator) authenticate(r *http.Request) (string, error) {
	raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return "", &armError{http.StatusUnauthorized, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing or holds no bearer token."}
	}
	claims, err := e.keys.verify(raw)
	if err != nil {
		return "", &armError{http.StatusUnauthorized, "InvalidAuthenticationToken", "The access token is invalid: " + err.Error() + "."}
	}
	switch audience := strings.TrimSuffix(claims.Audience, "/"); audience {
	case "https://management.azure.com", "https://management.core.windows.net", "https://" + r.Host:
		return claims.ObjectID, nil
	default:
		return "", &armError{
			http.StatusUnauthorized, "InvalidAuthenticationTokenAudience",
			fmt.Sprintf("The access token has been obtained for wrong audience or resource '%s'. It should exactly match with one of the allowed audiences 'https://management.core.windows.net/','https://management.azure.com/'.", claims.Audience),
		}
	}
}

func (e *Emulator) unknownPath(c *armCall) (armReply, error) {
	e.log.Info("request not understood", "method", c.r.Method, "path", c.r.URL.Path)
	return armReply{}, &armError{http.StatusNotFound, "InvalidRequestUri", fmt.Sprintf("The resource path '%s' is not understood.", c.r.URL.Path)}
}

// unknownResource answers for resource types and methods that the emulator does
// not have.
func (e *Emulator) unknownResource(c *armCall) (armReply, error) {
	e.log.Info("request not understood", "method", c.r.Method, "path", c.r.URL.Path)
	kind := c.id.provider + "/" + c.id.kind
	if c.id.childKind != "" {
		kind += "/" + c.id.childKind
	}
	switch strings.ToLower(kind) {
	case kindVM, kindVMSS, kindVMSS + "/virtualmachines", kindIdentity:
		return armReply{}, &armError{http.StatusMethodNotAllowed, "HttpMethodNotAllowed", fmt.Sprintf("The method %s is not allowed for the resource type '%s' here.", c.r.Method, kind)}
	default:
		return armReply{}, &armError{
			http.StatusNotFound, "InvalidResourceType",
			fmt.Sprintf("The resource type '%s' could not be found in the namespace '%s' for api version '%s'.",
				strings.TrimPrefix(kind, c.id.provider+"/"), c.id.provider, c.r.URL.Query().Get("api-version")),
		}
	}
}

func notFound(id armID) *armError {
	kind, name := id.provider+"/"+id.kind, id.name
	if id.childKind != "" {
		kind, name = kind+"/"+id.childKind, name+"/"+id.child
	}
	return &armError{
		http.StatusNotFound, "ResourceNotFound",
		fmt.Sprintf("The Resource '%s/%s' under resource group '%s' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix", kind, name, id.group),
	}
}

// readBody decodes the JSON body of a request into v.
func readBody(r *http.Request, v any) error {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, v)
	}
	if err != nil {
		return invalid("InvalidRequestContent", "The request content was invalid and could not be deserialized: '%s'.", err)
	}
	return nil
}

// writeARMError answers with err, an *armError.
func writeARMError(w http.ResponseWriter, err error) {
	e, ok := err.(*armError) //nolint:errorlint // made in this package, never wrapped
	if !ok {
		e = &armError{http.StatusInternalServerError, "InternalServerError", err.Error()}
	}
	w.Header().Set("X-Ms-Failure-Cause", "gateway")
	noteCode(w, e.code)
	writeJSON(w, e.status, armErrorBody{Error: armErrorDetail{Code: e.code, Message: e.message}})
}

// noteCode has the code of an error counted.
func noteCode(w http.ResponseWriter, code string) {
	if rec, ok := w.(*recorder); ok {
		rec.code = code
	}
}

// writeJSON answers with body as JSON, or without a body when it is nil.
func writeJSON(w http.ResponseWriter, status int, body any) {
	if body == nil {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client is gone when this fails
}
