package azemu_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/podid-io/podid/internal/azemu"
)

func TestSomebodyElseAssigns(t *testing.T) {
	t.Parallel()
	s := seed()
	s.VMs[0].Identity = &azemu.Assigned{Type: "SystemAssigned, UserAssigned", UserAssigned: []string{one}}
	w := start(t, azemu.Config{Seed: s})
	c := admin(t, w.Emulator)
	if err := c.Edit(t.Context(), azemu.Edit{Scope: strings.ToUpper(vmID), Attach: []string{strings.ToUpper(two), identities + "forbidden"}, Detach: []string{one}}); err != nil {
		t.Fatal(err)
	}
	got := w.State().VMs[0]
	if diff := cmp.Diff([]string{identities + "forbidden", two}, got.Visible); diff != "" || got.ETag != `"2"` || got.Identity.Type != "SystemAssigned, UserAssigned" {
		t.Errorf("ETag %s, type %s, machine knows (-want +got):\n%s", got.ETag, got.Identity.Type, diff)
	}
	counters, err := c.ScopeCounters(t.Context())
	if diff := cmp.Diff(map[string]azemu.ScopeCounter{strings.ToLower(vmID): {Edits: 1}}, counters, cmpopts.EquateEmpty()); err != nil || diff != "" {
		t.Errorf("counters, error %v (-want +got):\n%s", err, diff)
	}
}

func TestSomebodyElseIsInTheWay(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		edit     azemu.Edit
		ifMatch  bool
		status   int
		code     string
		says     string
		provides string
	}{
		"an operation about something else":   {azemu.Edit{Takes: azemu.Duration(time.Hour)}, true, 409, "Conflict", "concurrent request", "Updating"},
		"an operation with a code of its own": {azemu.Edit{Takes: azemu.Duration(time.Hour), Refusal: "OperationNotAllowed"}, true, 409, "OperationNotAllowed", "Another operation is in progress", "Updating"},
		"another version, just written":       {azemu.Edit{Attach: []string{two}}, true, 412, "PreconditionFailed", "does not match", "Succeeded"},
		"another version, under way":          {azemu.Edit{Attach: []string{two}, Takes: azemu.Duration(time.Hour)}, false, 409, "Conflict", "", "Updating"},
		"a deletion":                          {azemu.Edit{Delete: true, Takes: azemu.Duration(time.Hour)}, true, 409, "OperationNotAllowed", "marked for deletion", "Deleting"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, azemu.Config{})
			tt.edit.Scope = vmssID
			if err := w.SetFault(azemu.EndpointVMSSPatch, azemu.Fault{Before: &tt.edit, Times: 1}); err != nil {
				t.Fatal(err)
			}
			o := &armcompute.VirtualMachineScaleSetsClientBeginUpdateOptions{}
			if tt.ifMatch {
				o.IfMatch = new(`"1"`)
			}
			_, err := w.compute(t).NewVirtualMachineScaleSetsClient().BeginUpdate(t.Context(), group, "pool", assign(add(one)), o)
			checkARMError(t, err, tt.status, tt.code, tt.says)
			if s := w.State().ScaleSets[0]; s.ProvisioningState != tt.provides {
				t.Errorf("provisioning state %s, want %s", s.ProvisioningState, tt.provides)
			}
		})
	}
}

func TestSomebodyElsesOperationEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e, err := azemu.New(azemu.Config{Seed: seed()})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		if err := e.Edit(azemu.Edit{Scope: vmID, Delete: true, Takes: azemu.Duration(time.Second)}); err != nil {
			t.Fatal(err)
		}
		if err := e.Edit(azemu.Edit{Scope: vmssID, Attach: []string{one}, Takes: azemu.Duration(time.Second)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second - 1)
		synctest.Wait()
		if err := e.Edit(azemu.Edit{Scope: vmssID}); err == nil || !strings.Contains(err.Error(), "in flight") {
			t.Errorf("an edit while another is in flight: %v", err)
		}
		if s := e.State(); len(s.VMs) != 1 || len(s.ScaleSets[0].Visible) != 0 {
			t.Errorf("before the end: %d VMs, machines know %v", len(s.VMs), s.ScaleSets[0].Visible)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if s := e.State(); len(s.VMs) != 0 || len(s.ScaleSets[0].Visible) != 1 {
			t.Errorf("after the end: %d VMs, machines know %v", len(s.VMs), s.ScaleSets[0].Visible)
		}
	})
}

func TestAnInstanceIsDeleted(t *testing.T) {
	t.Parallel()
	e := newEmulator(t, azemu.Config{Seed: seed()})
	if err := e.Edit(azemu.Edit{Scope: vmssID + "/virtualMachines/0", Delete: true}); err != nil {
		t.Fatal(err)
	}
	if left := e.State().ScaleSets[0].Instances; len(left) != 1 || left[0].InstanceID != "1" {
		t.Errorf("left are %v", left)
	}
}

func TestEditsThatCannotBe(t *testing.T) {
	t.Parallel()
	c := admin(t, newEmulator(t, azemu.Config{Seed: seed()}))
	for name, tt := range map[string]struct {
		edit azemu.Edit
		want string
	}{
		"of nothing":                        {azemu.Edit{}, "want the id"},
		"of a VM that does not exist":       {azemu.Edit{Scope: vmID + "x"}, "no such VM"},
		"of an instance that is none":       {azemu.Edit{Scope: vmssID + "/virtualMachines/7", Delete: true}, "no such instance"},
		"of no scale set's instance":        {azemu.Edit{Scope: vmID + "/virtualMachines/7", Delete: true}, "no such instance"},
		"with an identity that is not here": {azemu.Edit{Scope: vmID, Attach: []string{identities + "ghost"}}, "no identity"},
		"in the past":                       {azemu.Edit{Scope: vmID, Takes: -1}, "not negative"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := c.Edit(t.Context(), tt.edit); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Edit() = %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := c.RecreateIdentity(t.Context(), identities+"ghost"); err == nil || !strings.Contains(err.Error(), "no identity") {
		t.Errorf("RecreateIdentity() of none = %v", err)
	}
}

func TestAnIdentityIsMadeAnew(t *testing.T) {
	t.Parallel()
	w := start(t, azemu.Config{Seed: withIdentities("", "one")})
	c := admin(t, w.Emulator)
	before := w.State().Identities
	made, err := c.RecreateIdentity(t.Context(), strings.ToUpper(one))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range before {
		if i.ID == made.ID && (i.ClientID == made.ClientID || i.PrincipalID == made.PrincipalID) || made.ClientID == "" {
			t.Errorf("it is the same: %v", made)
		}
	}
	sets := w.compute(t).NewVirtualMachineScaleSetsClient()
	got, err := sets.Get(t.Context(), group, "pool", nil)
	if err != nil {
		t.Fatal(err)
	}
	listed := strings.Replace(one, "resourceGroups", "resourcegroups", 1)
	if v := got.Identity.UserAssignedIdentities[listed]; v == nil || v.ClientID != nil {
		t.Errorf("the scale set lists %v, want it without its ids", v)
	}
	if status, _ := askIMDS(t, w.Emulator, "pool000000", tokenQuery(made.ClientID)); status != http.StatusBadRequest {
		t.Errorf("IMDS before it is given anew = %d", status)
	}
	if _, err := update(t.Context(), sets, assign(add(one))); err != nil {
		t.Fatal(err)
	}
	if status, body := askIMDS(t, w.Emulator, "pool000000", tokenQuery(made.ClientID)); status != http.StatusOK {
		t.Errorf("IMDS after it is given anew = %d %v", status, body)
	}
}

func TestAMachineIsMadeAnew(t *testing.T) {
	t.Parallel()
	w := start(t, azemu.Config{Seed: seed()})
	vms, sets := w.compute(t).NewVirtualMachinesClient(), w.compute(t).NewVirtualMachineScaleSetsClient()
	ids := func() []string {
		t.Helper()
		vm, err := vms.Get(t.Context(), group, vmID[strings.LastIndex(vmID, "/")+1:], nil)
		if err != nil {
			t.Fatal(err)
		}
		set, err := sets.Get(t.Context(), group, "pool", nil)
		if err != nil {
			t.Fatal(err)
		}
		return []string{*vm.Properties.VMID, *set.Properties.UniqueID, w.State().ScaleSets[0].Instances[0].VMID}
	}
	had := map[string]bool{}
	for again := range 3 {
		for _, id := range ids() {
			if had[id] {
				t.Errorf("made anew %d times, %s is what one before had", again, id)
			}
			had[id] = true
		}
		if got := ids(); !had[got[0]] || !had[got[1]] || !had[got[2]] {
			t.Errorf("%v are others with each look", got)
		}
		for _, id := range []string{strings.ToUpper(vmID), vmssID} {
			if err := w.Edit(azemu.Edit{Scope: id, Delete: true}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.MergeState(seed()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnIdentityIsDeletedUnderWay(t *testing.T) {
	t.Parallel()
	w := start(t, azemu.Config{ARMDelay: 300 * time.Millisecond})
	c := admin(t, w.Emulator)
	poller, err := w.compute(t).NewVirtualMachineScaleSetsClient().BeginUpdate(t.Context(), group, "pool", assign(add(one, two)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteIdentity(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	_, err = poller.PollUntilDone(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "FailedIdentityOperation") || !strings.Contains(err.Error(), strings.ToLower(one)) || strings.Contains(err.Error(), "/two") {
		t.Errorf("error = %v, want one that names the identity", err)
	}
	if s := w.State().ScaleSets[0]; s.ProvisioningState != "Failed" || len(s.Visible) != 0 {
		t.Errorf("%s, machines know %v", s.ProvisioningState, s.Visible)
	}
}
