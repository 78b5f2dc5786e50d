package imds

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
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
	// TenantID asks for the token of another tenant of the application, in lower
	// case; a parameter of podid's own (tenant_id).
	TenantID string
	// Refused is the SHA-256, in lower-case hex, of a token that a service has
	// refused: it must not be served again (token_sha256_to_refresh).
	Refused string
	// Capabilities is cp1 when the client understands claims challenges (xms_cc).
	Capabilities string
}

// TokenResponse is the body of a token answer. It is written as IMDS writes it:
// all strings, and never an empty one, which some clients refuse to parse: what
// is empty is left out.
type TokenResponse struct {
	AccessToken, ClientID, Resource string
	ObjectID, ResourceID            string
	// ExpiresIn is in seconds, ExpiresOn and NotBefore are in Unix seconds.
	ExpiresIn, ExpiresOn, NotBefore int64
}

// NewTokenResponse fills in the times, expires_in counted from now.
func NewTokenResponse(accessToken, resource string, notBefore, expiresOn, now time.Time) TokenResponse {
	if notBefore.IsZero() { // not every answer tells
		notBefore = now
	}
	return TokenResponse{
		AccessToken: accessToken,
		Resource:    resource,
		ExpiresIn:   max(0, int64(expiresOn.Sub(now)/time.Second)),
		ExpiresOn:   expiresOn.Unix(),
		NotBefore:   notBefore.Unix(),
	}
}

// WriteToken answers 200 with the token. It writes the JSON by hand, since this
// runs for every token and most of the time would go into looking at each byte
// of it: AccessToken must be plain (see IsPlain).
func WriteToken(w http.ResponseWriter, t TokenResponse) {
	buf, _ := buffers.Get().(*[]byte) // the pool holds nothing else
	b := (*buf)[:0]
	b = append(b, `{"access_token":"`...)
	b = append(b, t.AccessToken...)
	b = append(b, '"')
	b = appendField(b, `,"client_id":`, t.ClientID)
	b = appendNumber(b, `,"expires_in":"`, t.ExpiresIn)
	b = appendNumber(b, `,"expires_on":"`, t.ExpiresOn)
	b = appendNumber(b, `,"ext_expires_in":"`, t.ExpiresIn)
	b = appendNumber(b, `,"not_before":"`, t.NotBefore)
	b = appendField(b, `,"resource":`, t.Resource)
	b = append(b, `,"token_type":"Bearer"`...)
	b = appendField(b, `,"object_id":`, t.ObjectID)
	b = appendField(b, `,"msi_res_id":`, t.ResourceID)
	b = append(b, '}')
	writeJSON(w, http.StatusOK, b)
	*buf = b
	buffers.Put(buf)
}

// WriteHostToken answers a HostTokenRequest as NMI does: the token as its library
// wrote it, numbers as strings of digits, and the client id beside it.
func WriteHostToken(w http.ResponseWriter, t TokenResponse) {
	b := append([]byte(nil), `{"token":{"access_token":"`...)
	b = append(b, t.AccessToken...)
	b = append(b, `","refresh_token":""`...)
	b = appendNumber(b, `,"expires_in":"`, t.ExpiresIn)
	b = appendNumber(b, `,"expires_on":"`, t.ExpiresOn)
	b = appendNumber(b, `,"not_before":"`, t.NotBefore)
	b = appendString(append(b, `,"resource":`...), t.Resource)
	b = append(b, `,"token_type":"Bearer"`...)
	b = appendString(append(b, `},"clientid":`...), t.ClientID)
	writeJSON(w, http.StatusOK, append(b, '}'))
}

//nolint:gochecknoglobals // a pool is shared or it is none
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// appendField appends a field and its value, unless that is empty.
func appendField(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return appendString(append(b, name...), value)
}

// appendNumber appends a field, whose name ends with the quote before its value,
// and a number as a string of digits.
func appendNumber(b []byte, name string, n int64) []byte {
	return append(strconv.AppendInt(append(b, name...), n, 10), '"')
}

// appendString appends s as JSON.
func appendString(b []byte, s string) []byte {
	if IsPlain(s) {
		b = append(b, '"')
		b = append(b, s...)
		return append(b, '"')
	}
	quoted, _ := json.Marshal(s) // a string cannot fail
	return append(b, quoted...)
}

// IsPlain reports whether s is visible ASCII that JSON need not escape, as every
// bearer token is (RFC 6750, section 2.1).
func IsPlain(s string) bool {
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

// dateAtLeast compares two api-versions, dates with an optional suffix.
func dateAtLeast(v, least string) bool {
	if v == least { // what every SDK sends
		return true
	}
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
// backslashes (see IsPlain).
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
	if !IsPlain(t.AccessToken) {
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
