package whocan

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/podid-io/podid/internal/identity"
)

// Target is an identity of Azure, and the AzureIdentities that name it.
type Target struct {
	// ClientIDs and ResourceIDs are in lower case.
	ClientIDs, ResourceIDs []string
	Identities             []identity.Identity
}

var guid = regexp.MustCompile(`^(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// Resolve finds what a text means: the resource id of an identity, its client id, or
// an AzureIdentity by NAME, of the namespace, or NAMESPACE/NAME. All AzureIdentities
// that name the same identity are of the target. One by its ids need not be in the
// cluster: somebody may be able to define it.
func Resolve(c *Cluster, namespace, text string) (Target, error) {
	q := newQuery(c, Target{})
	lower := strings.ToLower(text)
	switch {
	case strings.HasPrefix(text, "/"):
		return q.same(nil, []string{lower}), nil
	case guid.MatchString(text):
		return q.same([]string{lower}, nil), nil
	}
	name := text
	if ns, n, ok := strings.Cut(text, "/"); ok {
		namespace, name = ns, n
	}
	id, ok := q.lookup(namespace, name)
	if !ok {
		return Target{}, fmt.Errorf("there is no AzureIdentity %s in namespace %s: write its name, its client id or its resource id", name, namespace)
	}
	return q.same(present(id.ClientID), present(id.ResourceID)), nil
}

func present(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// same gathers all that is the same identity, by any of the ids.
func (q *query) same(clients, resources []string) Target {
	t := Target{ClientIDs: clients, ResourceIDs: resources}
	in := make([]bool, len(q.identities))
	for grown := true; grown; {
		grown = false
		for i, id := range q.identities {
			if in[i] || !t.names(id) {
				continue
			}
			in[i], grown = true, true
			t.Identities = append(t.Identities, id)
			t.ClientIDs = with(t.ClientIDs, id.ClientID)
			t.ResourceIDs = with(t.ResourceIDs, id.ResourceID)
		}
	}
	return t
}

// names reports whether an AzureIdentity is one of the target.
func (t Target) names(id identity.Identity) bool {
	return id.ClientID != "" && slices.Contains(t.ClientIDs, id.ClientID) ||
		id.ResourceID != "" && slices.Contains(t.ResourceIDs, id.ResourceID)
}

// with is the list with s, once.
func with(list []string, s string) []string {
	if s == "" || slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}
