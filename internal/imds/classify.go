// Package imds is the wire of the instance metadata service as pods see it:
// which request is which, and the JSON of tokens and errors. It is pure and is
// used by both sides of the wire, the agent and the emulator; the referee
// between the two is the official SDKs.
//
// Sources: the documented endpoint
// (https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token)
// and what unmodified SDKs send and accept.
package imds

import (
	"net/http"
	"strings"
)

// Route says what a request asks for. The zero value is the safe one.
type Route int

const (
	// NotFound is every path that is not one of the others: the default denies.
	NotFound Route = iota
	// Probe is the token path without "Metadata: true": clients look whether
	// anybody is there, and want 400 at once.
	Probe
	// TokenRoute is a request for a token.
	TokenRoute
	// HostToken is NMI's endpoint for the Key Vault CSI provider.
	HostToken
	// Info is /metadata/identity/info: the tenant of the identity.
	Info
	// PassThrough is a documented family of metadata beside the identities; see
	// ParseMetadata.
	PassThrough
)

// Classify says what r asks for. Only paths in plain letters, without dot
// segments or escapes, are ever anything but NotFound: a spelling that another
// server might read differently is not ours to guess at (CVE-2022-23551).
// Case, repeated and trailing slashes make no difference.
func Classify(r *http.Request) Route {
	path, ok := plainPath(r)
	if !ok {
		return NotFound
	}
	switch path {
	case TokenPath:
		if v := r.Header["Metadata"]; len(v) != 1 || v[0] != "true" {
			return Probe
		}
		return TokenRoute
	case "/host/token":
		return HostToken
	case "/metadata/identity/info":
		return Info
	}
	if familyOf(path) != "" {
		return PassThrough
	}
	return NotFound
}

// plainPath returns the path in lower case without repeated or trailing
// slashes, and false when it is not plain.
func plainPath(r *http.Request) (string, bool) {
	p := r.URL.Path
	if r.URL.RawPath != "" || r.URL.Host != "" || r.URL.Opaque != "" || !strings.HasPrefix(p, "/") {
		return "", false
	}
	if p == TokenPath { // as every SDK spells it
		return p, !strings.Contains(requestPath(r), "%")
	}
	for i := range len(p) {
		switch c := p[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '/', c == '-', c == '_', c == '.':
		default:
			return "", false
		}
	}
	if strings.Contains(requestPath(r), "%") || strings.Contains(p, "/.") {
		return "", false
	}
	var b strings.Builder
	for segment := range strings.SplitSeq(strings.ToLower(p), "/") {
		if segment != "" {
			b.WriteByte('/')
			b.WriteString(segment)
		}
	}
	return b.String(), true
}

// requestPath is the path as it came over the wire, where there was one.
func requestPath(r *http.Request) string {
	p, _, _ := strings.Cut(r.RequestURI, "?")
	return p
}
