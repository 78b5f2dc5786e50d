package compute_test

import (
	"testing"

	"github.com/podid-io/podid/internal/azemu"
)

func TestAMachineWithoutIdentityHasNone(t *testing.T) {
	for kind, target := range map[string]string{"VM": vmID, "scale set": setID} {
		t.Run(kind, func(t *testing.T) {
			_, c := start(t, azemu.Config{}, azemu.Assigned{})
			got, err := c.Get(t.Context(), scope(t, target))
			if err != nil {
				t.Fatal(err)
			}
			if got.User == nil || len(got.User) > 0 || got.ClientIDs == nil || got.System {
				t.Errorf("Get() = %+v, want no identity, in maps that are there", got)
			}
		})
	}
}
