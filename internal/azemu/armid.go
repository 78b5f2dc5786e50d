package azemu

import (
	"slices"
	"strings"

	"github.com/google/uuid"
)

// Resource types, as provider/kind, in lower case.
const (
	kindVM       = "microsoft.compute/virtualmachines"
	kindVMSS     = "microsoft.compute/virtualmachinescalesets"
	kindIdentity = "microsoft.managedidentity/userassignedidentities"
)

// armID is the ARM id of a resource in a resource group, or, without a name, of
// a list of such resources. Ids are compared by key, without regard to case.
type armID struct {
	subscription, group string
	provider, kind      string
	name                string
	childKind, child    string // of a resource within a resource, else empty
}

// parseARMID reads an id of the form /subscriptions/S/resourceGroups/G/providers/P/K/N,
// maybe followed by a child's kind and name. Without the last name it is a list.
func parseARMID(s string) (armID, bool) {
	parts := strings.Split(strings.TrimPrefix(s, "/"), "/")
	if len(parts) < 7 || len(parts) > 10 || !strings.HasPrefix(s, "/") ||
		!strings.EqualFold(parts[0], "subscriptions") ||
		!strings.EqualFold(parts[2], "resourceGroups") ||
		!strings.EqualFold(parts[4], "providers") {
		return armID{}, false
	}
	if slices.Contains(parts, "") {
		return armID{}, false
	}
	parts = append(parts, "", "", "")
	return armID{
		subscription: parts[1], group: parts[3], provider: parts[5], kind: parts[6],
		name: parts[7], childKind: parts[8], child: parts[9],
	}, true
}

// parseResource reads the id of one resource of the type that want names.
func parseResource(s, want string) (armID, bool) {
	id, ok := parseARMID(s)
	return id, ok && id.name != "" && id.childKind == "" && id.resourceType() == want
}

// resourceType is provider/kind in lower case.
func (id armID) resourceType() string { return strings.ToLower(id.provider + "/" + id.kind) }

// scope is the path of the resource group.
func (id armID) scope() string {
	return "/subscriptions/" + id.subscription + "/resourceGroups/" + id.group
}

func (id armID) String() string {
	s := id.scope() + "/providers/" + strings.Join([]string{id.provider, id.kind, id.name, id.childKind, id.child}, "/")
	return strings.TrimRight(s, "/") // the last parts may be empty
}

// inGroup reports whether id is in the resource group of list.
func (id armID) inGroup(list armID) bool { return strings.EqualFold(id.scope(), list.scope()) }

func (id armID) key() string { return strings.ToLower(id.String()) }

// asListed is the id as compute resources list it: Azure changes the case of one
// segment, and clients must not mind.
func asListed(id string) string {
	return strings.Replace(id, "/resourceGroups/", "/resourcegroups/", 1)
}

// guid derives an id that is always the same for the same name.
func guid(purpose, name string) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("azemu:"+purpose+":"+strings.ToLower(name))).String()
}
