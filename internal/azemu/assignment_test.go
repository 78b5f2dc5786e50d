package azemu

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAssignmentPatched(t *testing.T) {
	t.Parallel()
	const a, b = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/a", "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/b"
	having := func(system bool, ids ...string) assignment {
		out := assignment{system: system, user: map[string]string{}}
		for _, raw := range ids {
			id, _ := parseARMID(raw)
			out.user[id.key()] = raw
		}
		return out
	}
	tests := map[string]struct {
		before assignment
		patch  string
		want   assignment
		code   string
	}{
		"adds, and keeps the others": {
			before: having(false, a), patch: `{"type":"UserAssigned","userAssignedIdentities":{"` + b + `":{}}}`, want: having(false, a, b),
		},
		"null removes, and keeps the others": {
			before: having(false, a, b), patch: `{"type":"UserAssigned","userAssignedIdentities":{"` + b + `":null}}`, want: having(false, a),
		},
		"null for one that is not there changes nothing": {
			before: having(false, a), patch: `{"type":"UserAssigned","userAssignedIdentities":{"` + b + `":null}}`, want: having(false, a),
		},
		"a type without SystemAssigned deletes the system identity": {
			before: having(true), patch: `{"type":"UserAssigned","userAssignedIdentities":{"` + a + `":{}}}`, want: having(false, a),
		},
		"both types keep both": {
			before: having(true, a), patch: `{"type":"systemassigned,userassigned","userAssignedIdentities":{"` + b + `":{}}}`, want: having(true, a, b),
		},
		"no type keeps the type": {
			before: having(true, a), patch: `{"userAssignedIdentities":{"` + b + `":{}}}`, want: having(true, a, b),
		},
		"SystemAssigned removes every user-assigned one": {
			before: having(true, a, b), patch: `{"type":"SystemAssigned"}`, want: having(true),
		},
		"None removes everything": {
			before: having(true, a, b), patch: `{"type":"None"}`, want: having(false),
		},
		"the last one goes with None": {
			before: having(false, a), patch: `{"type":"None","userAssignedIdentities":{"` + a + `":null}}`, want: having(false),
		},
		"an identity written back as it was read is kept": {
			before: having(false, a), patch: `{"type":"UserAssigned","userAssignedIdentities":{"` + a + `":{"clientId":"c"}}}`, want: having(false, a),
		},
		"the last one does not go with UserAssigned": {
			before: having(false, a), patch: `{"type":"UserAssigned","userAssignedIdentities":{"` + a + `":null}}`, want: having(false, a), code: "InvalidIdentityValues",
		},
		"None adds nothing": {
			before: having(false, a), patch: `{"type":"None","userAssignedIdentities":{"` + b + `":{}}}`, want: having(false, a), code: "InvalidIdentityValues",
		},
		"no type where there was none adds nothing": {
			before: having(true), patch: `{"userAssignedIdentities":{"` + b + `":{}}}`, want: having(true), code: "InvalidIdentityValues",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var p identityPatch
			if err := json.Unmarshal([]byte(tt.patch), &p); err != nil {
				t.Fatal(err)
			}
			got, _, err := tt.before.patched(p)
			var e *armError
			if errors.As(err, &e); (e != nil) != (tt.code != "") || e != nil && e.code != tt.code {
				t.Errorf("patched() error = %v, want code %q", err, tt.code)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(assignment{})); diff != "" {
				t.Errorf("patched() (-want +got):\n%s", diff)
			}
		})
	}
}
