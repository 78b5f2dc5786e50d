package azemu

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
)

// listPage is how many VMs or scale sets stand on a page of a list.
const listPage = 50

// listScopes lists the VMs or the scale sets of a resource group, page by page.
// The token of a page is the key of the last one before it, so that those that
// come and go meanwhile make no other one be missed.
func (e *Emulator) listScopes(c *armCall) (armReply, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	after := c.r.URL.Query().Get("$skiptoken")
	page, last := []resourceBody{}, ""
	for _, key := range slices.Sorted(maps.Keys(e.cloud.scopes)) {
		s := e.cloud.scopes[key]
		if key <= after || s.id.resourceType() != c.id.resourceType() || !s.id.inGroup(c.id) {
			continue
		}
		if len(page) == listPage {
			next := fmt.Sprintf("https://%s%s?api-version=%s&$skiptoken=%s",
				c.r.Host, c.r.URL.EscapedPath(), url.QueryEscape(c.r.URL.Query().Get("api-version")), url.QueryEscape(last))
			return armReply{status: http.StatusOK, body: map[string]any{"value": page, "nextLink": next}}, nil
		}
		page, last = append(page, e.cloud.describe(s)), key
	}
	return armReply{status: http.StatusOK, body: map[string]any{"value": page}}, nil
}
