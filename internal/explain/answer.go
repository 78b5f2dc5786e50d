package explain

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/podid-io/podid/internal/identity"
)

// Answer is what the agent of a node says of itself and of one pod. It never has
// a token in it.
type Answer struct {
	Version string `json:"version"`
	Node    string `json:"node"`
	// Managed says that the agent works without mic.
	Managed bool `json:"managed"`
	// Rules are the operator's choices that the agent decides by.
	Rules identity.Rules `json:"rules"`
	// Ready and Checks are the agent's readiness, a line for each check.
	Ready  bool     `json:"ready"`
	Checks []string `json:"checks"`

	// PodUID is the pod that the agent knows by the name; empty when it knows none,
	// and then Unknown says why.
	PodUID  string `json:"podUID,omitempty"`
	Unknown string `json:"unknown,omitempty"`
	// Addresses are those of the pod, each with what is the matter with it.
	Addresses []Address `json:"addresses,omitempty"`
	// Network says why the node's network gives the pod no link of its own.
	Network string `json:"network,omitempty"`

	// Outcome is the word of the audit log for what the pod would be answered, or
	// "selected" where the token was not asked for.
	Outcome string `json:"outcome,omitempty"`
	Reason  string `json:"reason,omitempty"`
	// Status is the HTTP status, and Says what goes with it where it is no token.
	Status int    `json:"status,omitempty"`
	Says   string `json:"says,omitempty"`
	// Retry says that the answer may change by itself.
	Retry bool `json:"retry,omitempty"`
	// Identity is the AzureIdentity that was chosen, as NAMESPACE/NAME.
	Identity string `json:"identity,omitempty"`
	// Exception is the AzurePodIdentityException that the pod falls under.
	Exception string `json:"exception,omitempty"`
	// Claims are those of the token, where one was asked for and is there.
	Claims *Claims `json:"claims,omitempty"`
}

// Address is an address of a pod as the agent of its node sees it.
type Address struct {
	Address string `json:"address"`
	// Trouble is why the pod is not known by it; empty when it is.
	Trouble string `json:"trouble,omitempty"`
	// Ambiguous says that the trouble is another pod.
	Ambiguous bool     `json:"ambiguous,omitempty"`
	Rivals    []string `json:"rivals,omitempty"`
}

// SelectedOutcome is the Outcome where no token was asked for.
const SelectedOutcome = "selected"

// Claims are what a token says of itself. Nothing of it is verified.
type Claims struct {
	Audience   string `json:"aud,omitempty"`
	AppID      string `json:"appid,omitempty"`
	ObjectID   string `json:"oid,omitempty"`
	TenantID   string `json:"tid,omitempty"`
	ResourceID string `json:"xms_mirid,omitempty"`
	// Expires is from the answer that the token came with, not from the token.
	Expires time.Time `json:"exp"`
	// Opaque says that the token is no JWT and so tells nothing.
	Opaque bool `json:"opaque,omitempty"`
}

// ClaimsOf reads a few claims of a token and leaves the rest, the signature above
// all.
func ClaimsOf(token string, expires time.Time) *Claims {
	opaque := &Claims{Expires: expires, Opaque: true}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return opaque
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return opaque
	}
	var c struct {
		Audience   any    `json:"aud"`
		AppID      string `json:"appid"`
		Party      string `json:"azp"` // as tokens of version 2 name it
		ObjectID   string `json:"oid"`
		TenantID   string `json:"tid"`
		ResourceID string `json:"xms_mirid"`
	}
	if json.Unmarshal(payload, &c) != nil {
		return opaque
	}
	if c.AppID == "" {
		c.AppID = c.Party
	}
	return &Claims{
		Audience: audience(c.Audience), AppID: c.AppID, ObjectID: c.ObjectID, TenantID: c.TenantID,
		ResourceID: c.ResourceID, Expires: expires,
	}
}

// audience is one name, or a list of them.
func audience(claim any) string {
	switch a := claim.(type) {
	case string:
		return a
	case []any:
		var names []string
		for _, n := range a {
			if s, ok := n.(string); ok {
				names = append(names, s)
			}
		}
		return strings.Join(names, " ")
	default:
		return ""
	}
}
