package imds

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

// Family is a part of the instance metadata that is passed on, or not, as a whole.
type Family string

// The families. UserData and Attested are apart from the others: the one holds
// what the operator gave the VM, often a join secret, and the other signs a
// statement in the name of the VM.
const (
	Instance        Family = "instance"
	UserData        Family = "userdata"
	Attested        Family = "attested"
	ScheduledEvents Family = "scheduledevents"
	LoadBalancer    Family = "loadbalancer"
	Versions        Family = "versions"
)

// Families are all there are.
func Families() []Family {
	return []Family{Instance, UserData, Attested, ScheduledEvents, LoadBalancer, Versions}
}

// familyOf is the family of a plain path, or "".
func familyOf(path string) Family {
	rest, ok := strings.CutPrefix(path, "/metadata/")
	if !ok {
		return ""
	}
	first, rest, _ := strings.Cut(rest, "/")
	switch f := Family(first); f {
	case Instance:
		for segment := range strings.SplitSeq(rest, "/") {
			if isUserData(segment) { // and whatever a server may find below it
				return UserData
			}
		}
		return Instance
	case Attested, ScheduledEvents, LoadBalancer, Versions:
		return f
	default:
		return ""
	}
}

// isUserData reports whether a name, in lower case, is that of what the operator
// gave the VM.
func isUserData(name string) bool { return name == "userdata" || name == "customdata" }

// MetadataRequest is a request for metadata that holds no identity.
type MetadataRequest struct {
	Family Family
	// Path is in lower case, without repeated or trailing slashes.
	Path string
	// Query holds the documented parameters that were given and nothing else.
	Query url.Values
}

// ParseMetadata reads a request that Classify calls PassThrough or Info: GET,
// with "Metadata: true", not by a proxy, and each parameter at most once. It
// returns an *Error of kind BadRequest, MethodNotAllowed or NoSuchPath.
func ParseMetadata(r *http.Request) (MetadataRequest, error) {
	path, ok := plainPath(r)
	if !ok {
		return MetadataRequest{}, Errorf(NoSuchPath, "not found")
	}
	if r.Method != http.MethodGet {
		return MetadataRequest{}, Errorf(MethodNotAllowed, "method %s is not allowed: use GET", r.Method)
	}
	if err := checkHeaders(r); err != nil {
		return MetadataRequest{}, err
	}
	if v := r.Header["Metadata"]; len(v) != 1 || v[0] != "true" {
		return MetadataRequest{}, Errorf(BadRequest, "Required metadata header not specified")
	}
	given, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return MetadataRequest{}, Errorf(BadRequest, "the query cannot be decoded")
	}
	m := MetadataRequest{Family: familyOf(path), Path: path, Query: url.Values{}}
	for name, values := range given {
		if name = strings.ToLower(name); len(values) > 1 || m.Query.Has(name) {
			return MetadataRequest{}, Errorf(BadRequest, "the parameter %s is given twice", name)
		}
		switch name {
		case "api-version", "format", "nonce", "extended":
			m.Query[name] = values
		}
	}
	return m, nil
}

// HideUserData empties userData and customData in an answer of the family
// Instance. What is not JSON, and no single value, is left out wholly: false.
func HideUserData(body []byte) ([]byte, bool) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var document any
	if err := decoder.Decode(&document); err != nil || decoder.More() {
		return nil, false
	}
	hide(document)
	out, err := json.Marshal(document)
	return out, err == nil
}

// hide empties the fields at any depth and in any case.
func hide(v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			if isUserData(strings.ToLower(name)) {
				v[name] = ""
			} else {
				hide(inner)
			}
		}
	case []any:
		for _, inner := range v {
			hide(inner)
		}
	}
}

// Answer is an answer of the real metadata service, to be passed on.
type Answer struct {
	Status                  int
	ContentType, RetryAfter string
	Body                    []byte
}

// WriteAnswer passes an answer on: status, body, the type of the content and
// Retry-After, and no other header.
func WriteAnswer(w http.ResponseWriter, a Answer) {
	h := w.Header()
	if a.ContentType != "" {
		h.Set("Content-Type", a.ContentType)
	}
	if a.RetryAfter != "" {
		h.Set("Retry-After", a.RetryAfter)
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h["Server"] = server
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // the client is gone when this fails
}

// WriteInfo answers Info.
func WriteInfo(w http.ResponseWriter, tenantID string) {
	b := appendString([]byte(`{"tenantId":`), tenantID)
	writeJSON(w, http.StatusOK, append(b, '}'))
}
