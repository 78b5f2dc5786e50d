package roles

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/podid-io/podid/internal/assign"
)

// What names in ids may have. Anything else, such as a question mark, would make a
// request for the id one for something else, or a line for a shell another.
var (
	subscriptionName = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)
	groupName        = regexp.MustCompile(`^[\p{L}\p{N}_().-]*[\p{L}\p{N}_()-]$`)
	identityName     = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	machineName      = regexp.MustCompile(`^[A-Za-z0-9_.-]*[A-Za-z0-9_-]$`)
)

var errNoIdentity = errors.New("want /subscriptions/S/resourceGroups/G/providers/Microsoft.ManagedIdentity/userAssignedIdentities/N")

// CheckIdentity asks for the ARM id of a user-assigned identity, and nothing else in it.
func CheckIdentity(id string) error {
	p := strings.Split(id, "/")
	if len(p) != 9 || p[0] != "" {
		return errNoIdentity
	}
	fixed := []string{p[1], p[3], p[5], p[6], p[7]}
	if !slices.EqualFunc(fixed, []string{"subscriptions", "resourceGroups", "providers", "Microsoft.ManagedIdentity", "userAssignedIdentities"}, sameWord) {
		return errNoIdentity
	}
	return cmp.Or(checkGroup(p[2], p[4]), check(identityName, p[8], "name of an identity"))
}

// sameWord reports whether two words are the same but for the case of letters, of
// those of ASCII: to fold others makes an s of a long one.
func sameWord(a, b string) bool { return len(a) == len(b) && strings.EqualFold(a, b) }

// CheckMachine asks for names in a scope, and nothing else.
func CheckMachine(s assign.Scope) error {
	return cmp.Or(checkGroup(s.Subscription, s.ResourceGroup), check(machineName, s.Name, "name of a machine"))
}

func checkGroup(subscription, group string) error {
	return cmp.Or(check(subscriptionName, subscription, "subscription: that is a GUID"), check(groupName, group, "name of a resource group"))
}

func check(rule *regexp.Regexp, s, what string) error {
	if !rule.MatchString(s) {
		return fmt.Errorf("%q is no %s", s, what)
	}
	return nil
}
