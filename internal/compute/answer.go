package compute

import (
	"encoding/json"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

// errorBody is the property error of an answer, or of an operation that failed:
// the text of its JSON, and what it says.
type errorBody struct {
	text, message string
}

// bodyOf uses up the body of the answer.
func bodyOf(answer *azcore.ResponseError) errorBody {
	if answer.RawResponse == nil || answer.RawResponse.Body == nil {
		return errorBody{}
	}
	// The SDK has read the body and put back a copy in memory.
	raw, err := io.ReadAll(answer.RawResponse.Body)
	if err != nil {
		return errorBody{}
	}
	var b struct {
		Error json.RawMessage `json:"error"`
	}
	var e struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(raw, &b) != nil || json.Unmarshal(b.Error, &e) != nil {
		return errorBody{}
	}
	return errorBody{text: string(b.Error), message: oneLine(e.Message)}
}

// identityIDs finds ARM ids of user-assigned identities, wherever they stand: in
// quotes, in lists with commas, in JSON within JSON.
var identityIDs = regexp.MustCompile(`(?i)/subscriptions/[^/\s]+/resourcegroups/[^/\s]+/providers/microsoft\.managedidentity/userassignedidentities/[^\s"'\\,]+`)

// IdentitiesIn are the ARM ids, in lower case, of the user-assigned identities that
// a text names, each once, up to the quote, comma or blank that ends them. What else
// stands behind a name is not cut off: what is left could be the name of another.
func IdentitiesIn(text string) []string {
	var ids []string
	for _, id := range identityIDs.FindAllString(text, -1) {
		if id = strings.ToLower(id); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

var wellFormed = regexp.MustCompile(`^(/[^/]+){7}/[a-z0-9_-]+$`)

// identities are those that are named. Azure names them in the message or in the
// details below it. What can be the name of none, though it begins like one, is left
// out.
func (b errorBody) identities() []string { return wellFormedIn(b.text) }

func wellFormedIn(text string) []string {
	var ids []string
	for _, id := range IdentitiesIn(text) {
		if wellFormed.MatchString(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// absences finds what the identity service says that it has not found, in the message
// of a FailedIdentityOperation.
var absences = regexp.MustCompile(`(?i)\bresources? '([^']*)' (?:was|were) not found\b`)

// missing are those of which the identity service says that they do not exist, in
// words or by its status. What it is only forbidden to say, or busy with, may exist.
func (b errorBody) missing() []string {
	switch b.identityStatus() {
	case "notfound":
		return wellFormedIn(b.message)
	case "", "badrequest":
		var named strings.Builder
		for _, found := range absences.FindAllStringSubmatch(b.message, -1) {
			named.WriteString(found[1] + ",")
		}
		return wellFormedIn(named.String())
	default:
		return nil
	}
}

// identityStatuses finds the status of the identity service in the message of a
// FailedIdentityOperation.
var identityStatuses = regexp.MustCompile(`(?i)\bstatus: '([a-z0-9]+)'`)

// identityStatus is that status, in lower case; empty where there is none.
func (b errorBody) identityStatus() string {
	if found := identityStatuses.FindStringSubmatch(b.message); found != nil {
		return strings.ToLower(found[1])
	}
	return ""
}

// aboutIdentities reports whether identities are named, or the word.
func (b errorBody) aboutIdentities() bool {
	return strings.Contains(strings.ToLower(b.text), "identit")
}

// reason is one line for an answer; the SDK's has a dozen.
func reason(answer *azcore.ResponseError, body errorBody) string {
	text := strings.TrimSpace(strconv.Itoa(answer.StatusCode) + " " + answer.ErrorCode)
	if body.message != "" {
		text += ": " + body.message
	}
	return text
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
