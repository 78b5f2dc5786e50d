package compute_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/compute"
)

func TestWhatSomebodyElseWroteMeanwhile(t *testing.T) {
	for sentence, test := range map[string]struct {
		meanwhile   azemu.Assigned // what it is by then
		want        []string
		wantType    string
		wantPatches int
		conflict    bool
	}{
		"is kept, and ours done": {
			meanwhile: azemu.Assigned{UserAssigned: []string{id("b"), id("c")}}, want: []string{"a", "c"}, wantType: "UserAssigned", wantPatches: 2,
		},
		"is kept, if it is a system-assigned identity": {
			meanwhile: azemu.Assigned{Type: "SystemAssigned, UserAssigned", UserAssigned: []string{id("b")}}, want: []string{"a"}, wantType: "SystemAssigned, UserAssigned", wantPatches: 2,
		},
		"is not ours, if it is what was to be attached": {
			meanwhile: azemu.Assigned{UserAssigned: []string{id("a"), id("b")}}, want: []string{"a", "b"}, wantType: "UserAssigned", wantPatches: 1, conflict: true,
		},
		"is seen, if it is what was to be detached": {
			meanwhile: azemu.Assigned{UserAssigned: []string{id("c")}}, want: []string{"c"}, wantType: "UserAssigned", wantPatches: 1, conflict: true,
		},
	} {
		for kind, target := range map[string]string{"VM": vmID, "scale set": setID} {
			t.Run(sentence+", "+kind, func(t *testing.T) {
				t.Parallel()
				e, c := start(t, azemu.Config{}, azemu.Assigned{UserAssigned: []string{id("b")}}, "a", "b", "c")
				s, err := c.Get(t.Context(), scope(t, target))
				if err != nil {
					t.Fatal(err)
				}
				if err := e.MergeState(azemu.State{VMs: []azemu.VM{{ID: vmID, Identity: &test.meanwhile}}, ScaleSets: []azemu.ScaleSet{{ID: setID, Identity: &test.meanwhile}}}); err != nil {
					t.Fatal(err)
				}
				changes, err := c.Update(t.Context(), scope(t, target), s, []string{id("a")}, []string{id("b")})
				got, _ := errors.AsType[*compute.Error](err)
				if conflict := got != nil && got.Kind == compute.Conflict && got.Refused && len(changes.Not) == 2; conflict != test.conflict || err != nil && !test.conflict {
					t.Errorf("Update() = %+v, %v", changes, err)
				}
				has, visible := see(e, target)
				if diff := cmp.Diff(test.want, visible); diff != "" || has.Type != test.wantType || patches(e) != test.wantPatches {
					t.Errorf("type %q after %d PATCHes, attached (-want +got):\n%s", has.Type, patches(e), diff)
				}
			})
		}
	}
}

func TestWhatIsBeingDeletedIsLeftAlone(t *testing.T) {
	t.Parallel()
	e, _ := inMemory(t, azemu.Config{})
	c := overMemory(t, roundTrip(func(r *http.Request) (*http.Response, error) {
		return rewritten(direct{e}, r, `"provisioningState":"Succeeded"`, `"provisioningState":"Deleting"`)
	}), direct{e})
	_, err := c.Get(t.Context(), scope(t, setID))
	got, ok := errors.AsType[*compute.Error](err)
	if !ok || got.Kind != compute.NotFound || got.Gone || !strings.Contains(got.Error(), "scale set group/pool: it is being deleted") {
		t.Errorf("error = %v", err)
	}
}

// Without an ETag nothing refuses a PATCH for what somebody else did.
func TestASystemAssignedIdentityStaysWhereAzureGivesNoETag(t *testing.T) {
	t.Parallel()
	e, _ := inMemory(t, azemu.Config{})
	c := overMemory(t, roundTrip(func(r *http.Request) (*http.Response, error) {
		return rewritten(direct{e}, r, `"etag"`, `"none"`)
	}), direct{e})
	s, err := c.Get(t.Context(), scope(t, setID))
	if err != nil || s.ETag != "" {
		t.Fatalf("before: %+v, %v", s, err)
	}
	if err := e.MergeState(azemu.State{ScaleSets: []azemu.ScaleSet{{ID: setID, Identity: &azemu.Assigned{Type: "SystemAssigned"}}}}); err != nil {
		t.Fatal(err)
	}
	_, err = c.Update(t.Context(), scope(t, setID), s, []string{id("a")}, nil)
	if has, _ := see(e, setID); err != nil || has.Type != "SystemAssigned, UserAssigned" {
		t.Errorf("type %q, %v", has.Type, err)
	}
}

func TestWhatOthersAttachedMeanwhileStaysWhereTheStateHasNoETag(t *testing.T) {
	for sentence, test := range map[string]struct {
		meanwhile []string
		etags     bool // Azure gives them, but did not the first time
		want      []string
		conflict  bool
	}{
		"with ETags by then":                       {meanwhile: []string{id("a"), id("b")}, etags: true, want: []string{"b"}},
		"without ETags":                            {meanwhile: []string{id("a"), id("b")}, want: []string{"b"}},
		"but for ours, which is gone":              {meanwhile: []string{id("b")}, etags: true, want: []string{"b"}, conflict: true},
		"and nothing else has changed: ours goes":  {meanwhile: []string{id("a")}, etags: true},
		"and nobody gives ETags either: ours goes": {meanwhile: []string{id("a")}},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			e, c := inMemory(t, azemu.Config{})
			if !test.etags {
				c = overMemory(t, roundTrip(func(r *http.Request) (*http.Response, error) {
					return rewritten(direct{e}, r, `"etag"`, `"none"`)
				}), direct{e})
			}
			be := func(ids ...string) {
				if err := e.MergeState(azemu.State{ScaleSets: []azemu.ScaleSet{{ID: setID, Identity: &azemu.Assigned{UserAssigned: ids}}}}); err != nil {
					t.Fatal(err)
				}
			}
			be(id("a"))
			s, err := c.Get(t.Context(), scope(t, setID))
			if err != nil {
				t.Fatal(err)
			}
			s.ETag = ""
			be(test.meanwhile...)
			changes, err := c.Update(t.Context(), scope(t, setID), s, nil, []string{id("a")})
			got, _ := errors.AsType[*compute.Error](err)
			if conflict := got != nil && got.Kind == compute.Conflict && got.Refused && len(changes.Not) == 1; conflict != test.conflict || err != nil && !test.conflict {
				t.Errorf("Update() = %+v, %v", changes, err)
			}
			if _, visible := see(e, setID); !cmp.Equal(test.want, visible) {
				t.Errorf("%v is attached, want %v", visible, test.want)
			}
		})
	}
}

func TestWhatIsMeantForOneMachineDoesNotGoToOneMadeAnew(t *testing.T) {
	const first, second = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
	for sentence, etag := range map[string]bool{"with an ETag": true, "without": false} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			e, c := inMemory(t, azemu.Config{})
			be := func(own string) {
				set := azemu.ScaleSet{ID: setID, UniqueID: own, Identity: &azemu.Assigned{}}
				if err := e.MergeState(azemu.State{Identities: []azemu.Identity{{ID: id("a")}}, ScaleSets: []azemu.ScaleSet{set}}); err != nil {
					t.Fatal(err)
				}
			}
			be(first)
			s, err := c.Get(t.Context(), scope(t, setID))
			if err != nil || s.ID != first {
				t.Fatalf("at first %+v, %v", s, err)
			}
			if !etag {
				s.ETag = ""
			}
			be(second)
			changes, err := c.Update(t.Context(), scope(t, setID), s, []string{id("a")}, nil)
			got, ok := errors.AsType[*compute.Error](err)
			if !ok || got.Kind != compute.Conflict || !got.Refused || !cmp.Equal(changes, compute.Changes{Not: []string{id("a")}}, cmpopts.EquateEmpty()) {
				t.Errorf("Update() = %+v, %v, want a conflict and nothing done", changes, err)
			}
			if _, visible := see(e, setID); visible != nil {
				t.Errorf("the other has %v", visible)
			}
		})
	}
}
