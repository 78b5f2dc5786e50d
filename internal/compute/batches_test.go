package compute_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/compute"
)

func TestTheSecondOfThreeBatches(t *testing.T) {
	t.Parallel()
	var ids []string
	for i := range 2*compute.MaxChanges + 1 {
		ids = append(ids, id(fmt.Sprintf("id-%d", i)))
	}
	const batch = compute.MaxChanges
	for sentence, test := range map[string]struct {
		endpoint string
		fault    azemu.Fault
		want     compute.Changes
		kind     compute.Kind // of the error; Other without one
		attached int
		patches  int
	}{
		"is refused": {
			azemu.EndpointVMSSPatch,
			azemu.Fault{Status: 403, Code: "AuthorizationFailed"},
			compute.Changes{Done: ids[:batch], Not: ids[batch:]},
			compute.Forbidden, batch, 2,
		},
		"meets somebody else's operation": {
			azemu.EndpointVMSSPatch,
			azemu.Fault{Before: &azemu.Edit{Scope: setID, Takes: azemu.Duration(time.Hour), Refusal: "AnotherOperationInProgress"}},
			compute.Changes{Done: ids[:batch], Not: ids[batch:]},
			compute.Conflict, batch, 2,
		},
		"meets somebody else's version, and is sent again": {
			azemu.EndpointVMSSPatch,
			azemu.Fault{Before: &azemu.Edit{Scope: setID, Attach: []string{id("theirs")}}},
			compute.Changes{Done: ids},
			compute.Other, len(ids) + 1, 4,
		},
		"is carried out, and the answer lost": {
			azemu.EndpointVMSSPatch,
			azemu.Fault{Status: 500, Effect: true},
			compute.Changes{Done: ids[:batch], Not: ids[2*batch:]},
			compute.Other, 2 * batch, 2,
		},
		"fails in part": {
			azemu.EndpointOperationEnd,
			azemu.Fault{Carried: 10, Named: true},
			compute.Changes{Done: ids[:batch], Not: ids[2*batch:]},
			compute.BadIdentity, batch + 10, 2,
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e, c := inMemory(t, azemu.Config{ARMDelay: time.Second})
				more := azemu.State{Identities: []azemu.Identity{{ID: id("theirs")}}}
				for _, id := range ids {
					more.Identities = append(more.Identities, azemu.Identity{ID: id})
				}
				test.fault.After, test.fault.Times = 1, 1
				if err := errors.Join(e.MergeState(more), e.SetFault(test.endpoint, test.fault)); err != nil {
					t.Fatal(err)
				}
				s, err := c.Get(t.Context(), scope(t, setID))
				if err != nil {
					t.Fatal(err)
				}
				got, err := c.Update(t.Context(), scope(t, setID), s, ids, nil)
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("Update() (-want +got):\n%s", diff)
				}
				kind := compute.Other
				if e, ok := errors.AsType[*compute.Error](err); ok {
					kind = e.Kind
				}
				if (err == nil) != (len(test.want.Done) == len(ids)) || kind != test.kind {
					t.Errorf("error %v", err)
				}
				time.Sleep(time.Second) // for the operation whose beginning was not heard of
				synctest.Wait()
				if _, visible := see(e, setID); len(visible) != test.attached || patches(e) != test.patches {
					t.Errorf("%d attached after %d PATCHes, want %d after %d", len(visible), patches(e), test.attached, test.patches)
				}
			})
		})
	}
}

// An operation that hangs, or of which nobody can hear, is waited for so long and
// no longer.
func TestAnOperationHasADeadline(t *testing.T) {
	t.Parallel()
	for sentence, fault := range map[string]struct {
		endpoint string
		fault    azemu.Fault
	}{
		"it takes an hour":        {azemu.EndpointOperationEnd, azemu.Fault{Delay: azemu.Duration(time.Hour)}},
		"nobody answers about it": {azemu.EndpointOperationGet, azemu.Fault{Hang: true}},
		"it is not even accepted": {azemu.EndpointVMSSPatch, azemu.Fault{Hang: true, Effect: true}},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e, c := inMemory(t, azemu.Config{ARMDelay: time.Minute})
				if err := e.SetFault(fault.endpoint, fault.fault); err != nil {
					t.Fatal(err)
				}
				s, err := c.Get(t.Context(), scope(t, setID))
				if err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				changes, err := c.Update(t.Context(), scope(t, setID), s, []string{id("a")}, nil)
				if got, ok := errors.AsType[*compute.Error](err); !ok || got.Refused || !errors.Is(err, context.DeadlineExceeded) || len(changes.Not)+len(changes.Done) > 0 {
					t.Errorf("Update() = %+v, %v, want that nothing is known", changes, err)
				}
				if took := time.Since(begin); took > 15*time.Minute+time.Second {
					t.Errorf("it took %s, want the 15m of UpdateTimeout", took)
				}
				if n := e.Counters()[azemu.EndpointVMSSPatch]; n.Calls != 1 || n.Status[http.StatusTooManyRequests] > 0 {
					t.Errorf("PATCHes: %+v, want one", n)
				}
			})
		})
	}
}
