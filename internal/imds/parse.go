package imds

import (
	"encoding/hex"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// longestForm bounds the body of a POST.
const longestForm = 8 << 10

// ParseToken reads a token request: GET with its parameters in the query, or
// the POST of some older SDKs, whose form counts too. They are the resource, at
// most one of client_id (or clientid), object_id (principal_id) and msi_res_id
// (mi_res_id, msi-res-id), and tenant_id, xms_cc and token_sha256_to_refresh. It
// returns an *Error of kind BadRequest or MethodNotAllowed. The header Metadata
// is Classify's business.
func ParseToken(r *http.Request) (TokenRequest, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return TokenRequest{}, Errorf(MethodNotAllowed, "method %s is not allowed: use GET", r.Method)
	}
	if err := checkHeaders(r); err != nil {
		return TokenRequest{}, err
	}
	var q query
	if err := q.parse(r.URL.RawQuery); err != nil {
		return TokenRequest{}, err
	}
	if r.Method == http.MethodPost {
		form, err := readForm(r)
		if err != nil {
			return TokenRequest{}, err
		}
		if err := q.parse(form); err != nil {
			return TokenRequest{}, err
		}
	}
	switch {
	case q.apiVersion == "" && r.Method == http.MethodGet: // those who POST are older than the parameter
		return TokenRequest{}, Errorf(BadRequest, "Required query variable 'api-version' is missing")
	case q.apiVersion != "" && !dateAtLeast(q.apiVersion, APIVersion) && r.Method == http.MethodGet:
		return TokenRequest{}, Errorf(BadRequest, "api-version %q is not supported: use %s or later", q.apiVersion, APIVersion)
	}
	return q.request()
}

// checkHeaders refuses what came by a proxy: IMDS does, so that nobody is made
// to fetch a token for somebody else.
func checkHeaders(r *http.Request) error {
	for _, h := range [...]string{"X-Forwarded-For", "Forwarded", "Via"} {
		if len(r.Header[h]) > 0 {
			return Errorf(BadRequest, "the header %s is not allowed: ask without a proxy", h)
		}
	}
	return nil
}

// readForm reads the form of a POST; empty when it has none.
func readForm(r *http.Request) (string, error) {
	if r.Body == nil {
		return "", nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, longestForm+1))
	switch {
	case err != nil:
		return "", Errorf(BadRequest, "the body cannot be read")
	case len(body) > longestForm:
		return "", Errorf(BadRequest, "the body is longer than %d bytes", longestForm)
	case len(body) == 0:
		return "", nil
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return "", Errorf(BadRequest, "the body is no form: send application/x-www-form-urlencoded, or use GET")
	}
	return string(body), nil
}

// HostTokenRequest is a request of the Key Vault CSI provider on behalf of a pod.
type HostTokenRequest struct {
	Namespace, Pod string
	TokenRequest
}

// ParseHostToken reads a request that Classify calls HostToken: the pod in the
// headers podns and podname, the rest as for ParseToken but without
// api-version, as NMI took it. It returns an *Error of kind BadRequest or
// MethodNotAllowed.
func ParseHostToken(r *http.Request) (HostTokenRequest, error) {
	if r.Method != http.MethodGet {
		return HostTokenRequest{}, Errorf(MethodNotAllowed, "method %s is not allowed: use GET", r.Method)
	}
	if err := checkHeaders(r); err != nil {
		return HostTokenRequest{}, err
	}
	namespace, pod := r.Header["Podns"], r.Header["Podname"]
	if len(namespace) != 1 || len(pod) != 1 || namespace[0] == "" || pod[0] == "" {
		return HostTokenRequest{}, Errorf(BadRequest, "missing 'podname' and 'podns' from request header")
	}
	var q query
	if err := q.parse(r.URL.RawQuery); err != nil {
		return HostTokenRequest{}, err
	}
	t, err := q.request()
	return HostTokenRequest{Namespace: namespace[0], Pod: pod[0], TokenRequest: t}, err
}

// query is what a token request can say. It is filled without a map, since
// this runs for every token.
type query struct {
	apiVersion, resource string
	selector             Selector
	named                string // the parameter that set selector
	tenant               string
	refused              string
	capabilities         string
}

// request checks what was said, beside the api-version.
func (q *query) request() (TokenRequest, error) {
	t := TokenRequest{Resource: q.resource, Selector: q.selector}
	switch {
	case q.resource == "":
		return t, Errorf(BadRequest, "Required query variable 'resource' is missing")
	case len(q.resource) > longestResource:
		return t, Errorf(BadRequest, "the resource is longer than %d characters", longestResource)
	}
	if q.tenant != "" {
		t.TenantID = strings.ToLower(q.tenant)
	}
	if q.refused != "" {
		t.Refused = strings.ToLower(q.refused)
		if sum, err := hex.DecodeString(t.Refused); err != nil || len(sum) != 32 {
			return t, Errorf(BadRequest, "token_sha256_to_refresh is no SHA-256 in hex")
		}
	}
	if q.capabilities != "" && slices.Contains(strings.Split(strings.ToLower(q.capabilities), ","), "cp1") {
		t.Capabilities = "cp1" // the only one there is; others would only split the cache
	}
	return t, nil
}

func (q *query) parse(raw string) error {
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		value, err := url.QueryUnescape(value)
		field, selects := q.field(key)
		switch {
		case err != nil || (field == nil && strings.ContainsAny(key, "%+")):
			return Errorf(BadRequest, "the query cannot be decoded")
		case field == nil: // not ours to judge
			continue
		case value == "":
			return Errorf(BadRequest, "the parameter %s is empty", key)
		case selects && q.named != "" && q.named != key:
			return Errorf(BadRequest, "%s and %s are both given: name the identity once", q.named, key)
		case *field != "":
			return Errorf(BadRequest, "the parameter %s is given twice", key)
		case selects:
			q.named = key
		}
		*field = value
	}
	return nil
}

// field is where the value of a parameter goes, nil when nobody reads it, and
// whether it selects an identity.
func (q *query) field(key string) (field *string, selects bool) {
	switch strings.ToLower(key) {
	case "api-version":
		return &q.apiVersion, false
	case "resource":
		return &q.resource, false
	case "client_id", "clientid":
		return &q.selector.ClientID, true
	case "object_id", "principal_id":
		return &q.selector.ObjectID, true
	case "msi_res_id", "mi_res_id", "msi-res-id":
		return &q.selector.ResourceID, true
	case "tenant_id":
		return &q.tenant, false
	case "token_sha256_to_refresh":
		return &q.refused, false
	case "xms_cc":
		return &q.capabilities, false
	default:
		return nil, false
	}
}
