package imds

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// APIVersion is the version that podid's own requests carry; every SDK sends it.
const APIVersion = "2018-02-01"

// longestResource bounds what a client can make the agent remember.
const longestResource = 1024

// TokenPath is the path of the token endpoint.
const TokenPath = "/metadata/identity/oauth2/token"

// Selector names one identity: at most one field is set.
type Selector struct {
	ClientID, ObjectID, ResourceID string
}

// TokenRequest is a parsed request for a token.
type TokenRequest struct {
	// Resource is the App-ID URI, verbatim: a trailing slash counts.
	Resource string
	Selector Selector
}

// TokenResponse is the body of a token answer: all strings, as IMDS sends them,
// and never an empty one, which some clients refuse to parse: what is empty is
// left out.
type TokenResponse struct {
	AccessToken, ClientID              string
	ExpiresIn, ExpiresOn, ExtExpiresIn string
	NotBefore, Resource, TokenType     string
	ObjectID, ResourceID               string
}

// NewTokenResponse fills in the times as IMDS writes them: seconds, expires_in
// counted from now.
func NewTokenResponse(accessToken, resource string, notBefore, expiresOn, now time.Time) TokenResponse {
	if notBefore.IsZero() { // not every answer tells
		notBefore = now
	}
	in := strconv.FormatInt(max(0, int64(expiresOn.Sub(now)/time.Second)), 10)
	return TokenResponse{
		AccessToken:  accessToken,
		ExpiresIn:    in,
		ExpiresOn:    strconv.FormatInt(expiresOn.Unix(), 10),
		ExtExpiresIn: in,
		NotBefore:    strconv.FormatInt(notBefore.Unix(), 10),
		Resource:     resource,
		TokenType:    "Bearer",
	}
}

// WriteToken answers 200 with the token. It writes the JSON by hand, since this
// runs for every token and most of the time would go into looking at each byte
// of it: AccessToken must be plain (see DecodeToken).
func WriteToken(w http.ResponseWriter, t TokenResponse) {
	buf, _ := buffers.Get().(*[]byte) // the pool holds nothing else
	b := (*buf)[:0]
	b = append(b, `{"access_token":"`...)
	b = append(b, t.AccessToken...)
	b = append(b, '"')
	for _, f := range [...]struct{ name, value string }{
		{`,"client_id":`, t.ClientID},
		{`,"expires_in":`, t.ExpiresIn},
		{`,"expires_on":`, t.ExpiresOn},
		{`,"ext_expires_in":`, t.ExtExpiresIn},
		{`,"not_before":`, t.NotBefore},
		{`,"resource":`, t.Resource},
		{`,"token_type":`, t.TokenType},
		{`,"object_id":`, t.ObjectID},
		{`,"msi_res_id":`, t.ResourceID},
	} {
		if f.value != "" {
			b = appendString(append(b, f.name...), f.value)
		}
	}
	b = append(b, '}')
	writeJSON(w, http.StatusOK, b)
	*buf = b
	buffers.Put(buf)
}

//nolint:gochecknoglobals // a pool is shared or it is none
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// appendString appends s as JSON.
func appendString(b []byte, s string) []byte {
	if isPlain(s) {
		b = append(b, '"')
		b = append(b, s...)
		return append(b, '"')
	}
	quoted, _ := json.Marshal(s) // a string cannot fail
	return append(b, quoted...)
}

// isPlain reports whether s is visible ASCII that JSON need not escape.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h["Content-Type"] = contentType
	h["Server"] = server
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone when this fails: nobody is left to tell
}

// Shared header values: net/http never writes into them.
//
//nolint:gochecknoglobals // constants that Go cannot spell as such; saves two allocations an answer
var (
	contentType = []string{"application/json; charset=utf-8"}
	server      = []string{"IMDS/podid"} // MSAL.NET wants "IMDS" in it
)

// ParseToken reads a token request: GET with the resource and at most one of
// client_id (or clientid), object_id (principal_id) and msi_res_id (mi_res_id,
// msi-res-id), in the query. It returns an *Error of kind BadRequest or
// MethodNotAllowed. The header Metadata is Classify's business.
func ParseToken(r *http.Request) (TokenRequest, error) {
	if r.Method != http.MethodGet {
		return TokenRequest{}, Errorf(MethodNotAllowed, "method %s is not allowed: use GET", r.Method)
	}
	for _, h := range []string{"X-Forwarded-For", "Forwarded", "Via"} {
		if len(r.Header[h]) > 0 {
			return TokenRequest{}, Errorf(BadRequest, "the header %s is not allowed: ask without a proxy", h)
		}
	}
	var q query
	if err := q.parse(r.URL.RawQuery); err != nil {
		return TokenRequest{}, err
	}
	switch {
	case q.apiVersion == "":
		return TokenRequest{}, Errorf(BadRequest, "Required query variable 'api-version' is missing")
	case !dateAtLeast(q.apiVersion, APIVersion):
		return TokenRequest{}, Errorf(BadRequest, "api-version %q is not supported: use %s or later", q.apiVersion, APIVersion)
	case q.resource == "":
		return TokenRequest{}, Errorf(BadRequest, "Required query variable 'resource' is missing")
	case len(q.resource) > longestResource:
		return TokenRequest{}, Errorf(BadRequest, "the resource is longer than %d characters", longestResource)
	}
	return TokenRequest{Resource: q.resource, Selector: q.selector}, nil
}

// query is what a token request can say. It is filled without a map, since
// this runs for every token.
type query struct {
	apiVersion, resource string
	selector             Selector
}

func (q *query) parse(raw string) error {
	named := ""
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		value, err := url.QueryUnescape(value)
		if err != nil || strings.ContainsAny(key, "%+") {
			return Errorf(BadRequest, "the query cannot be decoded")
		}
		field, selects := q.field(key)
		switch {
		case field == nil: // not ours to judge
			continue
		case value == "":
			return Errorf(BadRequest, "the parameter %s is empty", key)
		case selects && named != "" && named != key:
			return Errorf(BadRequest, "%s and %s are both given: name the identity once", named, key)
		case *field != "":
			return Errorf(BadRequest, "the parameter %s is given twice", key)
		case selects:
			named = key
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
	default:
		return nil, false
	}
}

// dateAtLeast compares two api-versions, dates with an optional suffix.
func dateAtLeast(v, least string) bool {
	const form = "2006-01-02"
	if len(v) < len(form) {
		return false
	}
	if _, err := time.Parse(form, v[:len(form)]); err != nil {
		return false
	}
	return v[:len(form)] >= least
}

// Token is what an answer of IMDS says. ClientID and NotBefore can be zero.
type Token struct {
	AccessToken, ClientID string
	NotBefore, ExpiresOn  time.Time
}

// DecodeToken reads a token answer of IMDS. It takes numbers and strings of
// digits alike for the times. An answer without a token or without an expiry is
// an error, and so is a token that is not visible ASCII without quotes and
// backslashes, as every bearer token is (RFC 6750, section 2.1).
func DecodeToken(body []byte) (Token, error) {
	var t struct {
		AccessToken string      `json:"access_token"`
		ClientID    string      `json:"client_id"`
		ExpiresOn   json.Number `json:"expires_on"`
		NotBefore   json.Number `json:"not_before"`
	}
	if err := json.Unmarshal(body, &t); err != nil {
		return Token{}, fmt.Errorf("token answer is not the JSON of IMDS: %w", err)
	}
	on, err := t.ExpiresOn.Int64()
	if err != nil || t.AccessToken == "" {
		return Token{}, errors.New("token answer lacks access_token or a numeric expires_on")
	}
	if !isPlain(t.AccessToken) {
		return Token{}, errors.New("token answer holds an access_token that is no bearer token")
	}
	token := Token{AccessToken: t.AccessToken, ClientID: t.ClientID, ExpiresOn: time.Unix(on, 0)}
	if nb, err := t.NotBefore.Int64(); err == nil {
		token.NotBefore = time.Unix(nb, 0)
	}
	return token, nil
}

// DecodeError reads an error answer of IMDS: its description, or the beginning
// of the body when it has none.
func DecodeError(body []byte) string {
	var e errorBody
	if err := json.Unmarshal(body, &e); err == nil && e.Error != "" {
		return strings.TrimSuffix(e.Error+": "+e.Description, ": ")
	}
	return string(body[:min(len(body), 200)])
}

// IsIdentityNotFound reports whether the description of an error says that the
// identity is not on the VM. IMDS has no code of its own for it.
func IsIdentityNotFound(description string) bool {
	return strings.Contains(strings.ToLower(description), "identity not found")
}
