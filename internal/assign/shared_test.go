package assign_test

import (
	"encoding/json"
	"sync"
	"testing"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/identity"
)

// Answers of the API server are read into the objects, some at once.
func TestObjectsShareNothingWithTheCacheOrEachOther(t *testing.T) {
	s := assign.Snapshot{
		Pods:     []identity.Pod{pod("ns", "one", "1"), pod("ns", "two", "2")},
		Bindings: []*v1.AzureIdentityBinding{binding("ns", "b", "reader", "app")},
		Identities: []*v1.AzureIdentity{azureIdentity("ns", "reader", func(i *v1.AzureIdentity) {
			i.Spec.Type, i.Spec.AuxiliaryTenantIDs = new(v1.UserAssignedMSI), []string{"another"}
		})},
	}
	objects := s.Plan().Create
	if len(objects) != 2 {
		t.Fatalf("%d objects, want 2", len(objects))
	}
	var g sync.WaitGroup
	for _, o := range objects {
		answer, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		g.Go(func() { // ends with the answer
			if err := json.Unmarshal(answer, o); err != nil {
				t.Error(err)
			}
			o.Spec.AzureIdentityRef.Spec.AuxiliaryTenantIDs[0] = o.Name
		})
	}
	g.Wait()
	if got := s.Identities[0].Spec.AuxiliaryTenantIDs[0]; got != "another" {
		t.Errorf("the AzureIdentity has %q", got)
	}
}
