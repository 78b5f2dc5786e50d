package compute_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/compute"
)

const (
	none   = "None"
	system = "SystemAssigned"
	user   = "UserAssigned"
	both   = "SystemAssigned, UserAssigned"
)

// flexibleSetID is the scale set of the VM with flexibleID.
var (
	flexibleSetID = base + "Microsoft.Compute/virtualMachineScaleSets/flexible"
	flexibleID    = base + "Microsoft.Compute/virtualMachines/flexible-1"
)

// body is the identity of a PATCH: its type, and the names that it attaches and
// detaches.
type body struct {
	Type           string
	Attach, Detach []string
}

// matrix is every identity type with every change. keep, mine and other are
// attached before where the type has any; mine is detached, new attached.
var matrix = map[string]struct {
	has, wantType string
	hasIDs, want  []string
	attach        []string
	detach        []string
	body          *body // nil for no PATCH
}{
	"None, attach":           {has: none, attach: []string{"new"}, wantType: user, want: []string{"new"}, body: &body{Type: user, Attach: []string{"new"}}},
	"None, detach":           {has: none, detach: []string{"mine"}, wantType: none},
	"None, both":             {has: none, attach: []string{"new"}, detach: []string{"mine"}, wantType: user, want: []string{"new"}, body: &body{Type: user, Attach: []string{"new"}}},
	"SystemAssigned, attach": {has: system, attach: []string{"new"}, wantType: both, want: []string{"new"}, body: &body{Type: both, Attach: []string{"new"}}},
	"SystemAssigned, detach": {has: system, detach: []string{"mine"}, wantType: system},
	"SystemAssigned, both":   {has: system, attach: []string{"new"}, detach: []string{"mine"}, wantType: both, want: []string{"new"}, body: &body{Type: both, Attach: []string{"new"}}},
	"UserAssigned, attach": {
		has: user, hasIDs: []string{"keep", "mine"}, attach: []string{"new"},
		wantType: user, want: []string{"keep", "mine", "new"}, body: &body{Type: user, Attach: []string{"new"}},
	},
	"UserAssigned, detach one": {
		has: user, hasIDs: []string{"keep", "mine"}, detach: []string{"mine"},
		wantType: user, want: []string{"keep"}, body: &body{Type: user, Detach: []string{"mine"}},
	},
	"UserAssigned, detach the last": {
		has: user, hasIDs: []string{"mine"}, detach: []string{"mine"}, wantType: none, body: &body{Type: none},
	},
	"UserAssigned, detach all": {
		has: user, hasIDs: []string{"keep", "mine"}, detach: []string{"mine", "keep"}, wantType: none, body: &body{Type: none},
	},
	"UserAssigned, both": {
		has: user, hasIDs: []string{"keep", "mine"}, attach: []string{"new"}, detach: []string{"mine"},
		wantType: user, want: []string{"keep", "new"}, body: &body{Type: user, Attach: []string{"new"}, Detach: []string{"mine"}},
	},
	"UserAssigned, one in place of the last": {
		has: user, hasIDs: []string{"mine"}, attach: []string{"new"}, detach: []string{"mine"},
		wantType: user, want: []string{"new"}, body: &body{Type: user, Attach: []string{"new"}, Detach: []string{"mine"}},
	},
	"SystemAssigned and UserAssigned, attach": {
		has: both, hasIDs: []string{"keep", "mine"}, attach: []string{"new"},
		wantType: both, want: []string{"keep", "mine", "new"}, body: &body{Type: both, Attach: []string{"new"}},
	},
	"SystemAssigned and UserAssigned, detach one": {
		has: both, hasIDs: []string{"keep", "mine"}, detach: []string{"mine"},
		wantType: both, want: []string{"keep"}, body: &body{Type: both, Detach: []string{"mine"}},
	},
	"SystemAssigned and UserAssigned, detach the last": {
		has: both, hasIDs: []string{"mine"}, detach: []string{"mine"}, wantType: system, body: &body{Type: system},
	},
	"SystemAssigned and UserAssigned, both": {
		has: both, hasIDs: []string{"keep", "mine"}, attach: []string{"new"}, detach: []string{"mine"},
		wantType: both, want: []string{"keep", "new"}, body: &body{Type: both, Attach: []string{"new"}, Detach: []string{"mine"}},
	},
	"SystemAssigned and UserAssigned, all so already": {
		has: both, hasIDs: []string{"keep"}, attach: []string{"keep"}, detach: []string{"mine"}, wantType: both, want: []string{"keep"},
	},
}

func TestEveryTypeOfIdentityWithEveryChange(t *testing.T) {
	t.Parallel()
	e, err := azemu.New(azemu.Config{Seed: azemu.State{Apps: []azemu.App{{ClientID: "mic", Secrets: []string{"secret"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for name, test := range matrix {
		for where, target := range map[string]string{"VM": vmID, "uniform scale set": setID, "VM of a flexible scale set": flexibleID} {
			for spelled, spell := range map[string]func(string) string{"lower case": strings.ToLower, "upper case": strings.ToUpper} {
				t.Run(name+", "+where+", "+spelled, func(t *testing.T) { // one after the other: they share e
					if err := e.SetState(matrixState(test.has, test.hasIDs, spell)); err != nil {
						t.Fatal(err)
					}
					synctest.Test(t, func(t *testing.T) {
						s, sent := changed(t, e, target, spellAll(test.attach, spell), spellAll(test.detach, spell))
						checkSent(t, sent, s, test.body)
					})
					has := identityOf(e, target)
					if diff := cmp.Diff(test.want, namesOf(has.UserAssigned), cmpopts.EquateEmpty()); diff != "" || has.Type != test.wantType {
						t.Errorf("type %q, want %q; attached (-want +got):\n%s", has.Type, test.wantType, diff)
					}
				})
			}
		}
	}
}

// changed changes what target has, and returns what it had and the PATCHes.
func changed(t *testing.T, e *azemu.Emulator, target string, attach, detach []string) (s compute.State, sent []*http.Request) {
	t.Helper()
	c := overMemory(t, roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodPatch {
			sent = append(sent, copied(t, r))
		}
		return direct{e}.RoundTrip(r)
	}), direct{e})
	s, err := c.Get(t.Context(), scope(t, target))
	if err == nil {
		_, err = c.Update(t.Context(), scope(t, target), s, attach, detach)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s, sent
}

// checkSent compares the only PATCH with what it is to be.
func checkSent(t *testing.T, sent []*http.Request, s compute.State, want *body) {
	t.Helper()
	if want == nil {
		if len(sent) > 0 {
			t.Errorf("%d PATCHes, want none", len(sent))
		}
		return
	}
	if len(sent) != 1 {
		t.Fatalf("%d PATCHes, want one", len(sent))
	}
	if got := sent[0].Header.Get("If-Match"); got != s.ETag || got == "" {
		t.Errorf("If-Match %q, want %q", got, s.ETag)
	}
	if diff := cmp.Diff(want, bodyOf(t, sent[0]), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("PATCH (-want +got):\n%s", diff)
	}
}

// bodyOf reads a PATCH, and fails where there is more in it than identities.
func bodyOf(t *testing.T, r *http.Request) *body {
	t.Helper()
	var in struct {
		Identity struct {
			Type string                     `json:"type"`
			IDs  map[string]json.RawMessage `json:"userAssignedIdentities"`
		} `json:"identity"`
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		t.Fatal(err)
	}
	out := &body{Type: in.Identity.Type}
	for _, id := range slices.Sorted(maps.Keys(in.Identity.IDs)) {
		name := namesOf([]string{id})[0]
		switch value := string(in.Identity.IDs[id]); value {
		case "null":
			out.Detach = append(out.Detach, name)
		case "{}":
			out.Attach = append(out.Attach, name)
		default:
			t.Errorf("identity %s is sent with %s", id, value)
		}
	}
	return out
}

// copied is a request whose body can be read while the request is sent.
func copied(t *testing.T, r *http.Request) *http.Request {
	t.Helper()
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(raw))
	c := r.Clone(r.Context())
	c.Body = io.NopCloser(bytes.NewReader(raw))
	return c
}

// matrixState is a VM, a uniform scale set and a VM of a flexible one, which all
// have these identities.
func matrixState(kind string, ids []string, spell func(string) string) azemu.State {
	has := &azemu.Assigned{Type: kind, UserAssigned: spellAll(ids, spell)}
	s := azemu.State{
		Apps: []azemu.App{{ClientID: "mic", Secrets: []string{"secret"}}},
		VMs:  []azemu.VM{{ID: vmID, Identity: has}, {ID: flexibleID, Identity: has, ScaleSet: flexibleSetID}},
		ScaleSets: []azemu.ScaleSet{
			{ID: setID, Identity: has}, {ID: flexibleSetID, OrchestrationMode: azemu.Flexible},
		},
	}
	for _, name := range []string{"keep", "mine", "new"} {
		s.Identities = append(s.Identities, azemu.Identity{ID: id(name)})
	}
	return s
}

func spellAll(names []string, spell func(string) string) (ids []string) {
	for _, name := range names {
		ids = append(ids, spell(id(name)))
	}
	return ids
}

// identityOf is what a VM or scale set has.
func identityOf(e *azemu.Emulator, target string) azemu.Assigned {
	s := e.State()
	for _, m := range s.VMs {
		if strings.EqualFold(m.ID, target) {
			return *m.Identity
		}
	}
	for _, m := range s.ScaleSets {
		if strings.EqualFold(m.ID, target) {
			return *m.Identity
		}
	}
	return azemu.Assigned{}
}

func namesOf(ids []string) (names []string) {
	for _, id := range ids {
		names = append(names, strings.ToLower(id[strings.LastIndex(id, "/")+1:]))
	}
	slices.Sort(names)
	return names
}
