package assign_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/internal/assign"
)

func TestParseProviderID(t *testing.T) {
	vm := assign.Scope{Kind: assign.VM, Subscription: "sub", ResourceGroup: "mc_g", Name: "node-0"}
	set := assign.Scope{Kind: assign.VMSS, Subscription: "sub", ResourceGroup: "mc_g", Name: "pool"}
	for sentence, test := range map[string]struct {
		id   string
		want assign.Scope
		says string
	}{
		"a virtual machine":          {id: "azure:///subscriptions/sub/resourceGroups/MC_g/providers/Microsoft.Compute/virtualMachines/node-0", want: vm},
		"an instance of a scale set": {id: "azure:///subscriptions/sub/resourceGroups/MC_g/providers/Microsoft.Compute/virtualMachineScaleSets/pool/virtualMachines/7", want: set},
		"all in lower case":          {id: "azure:///subscriptions/sub/resourcegroups/mc_g/providers/microsoft.compute/virtualmachinescalesets/pool/virtualmachines/7", want: set},
		"all in upper case":          {id: "AZURE:///SUBSCRIPTIONS/SUB/RESOURCEGROUPS/MC_G/PROVIDERS/MICROSOFT.COMPUTE/VIRTUALMACHINES/NODE-0", want: vm},
		"nothing":                    {says: assign.ErrNoProviderID.Error()},
		"another cloud":              {id: "aws:///eu-west-1a/i-0", says: `providerID "aws:///eu-west-1a/i-0" is not one of Azure`},
		"something else in Azure": {
			id:   "azure:///subscriptions/sub/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/n",
			says: `providerID "azure:///subscriptions/sub/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/n" names neither a virtual machine nor an instance of a scale set`,
		},
		"a scale set, and none of its instances": {
			id:   "azure:///subscriptions/sub/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/pool",
			says: `providerID "azure:///subscriptions/sub/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/pool" names neither a virtual machine nor an instance of a scale set`,
		},
		"an empty name": {
			id:   "azure:///subscriptions/sub/resourceGroups//providers/Microsoft.Compute/virtualMachines/n",
			says: `providerID "azure:///subscriptions/sub/resourceGroups//providers/Microsoft.Compute/virtualMachines/n" names neither a virtual machine nor an instance of a scale set`,
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			got, err := assign.ParseProviderID(test.id)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("scope (-want +got):\n%s", diff)
			}
			if err != nil && err.Error() != test.says || err == nil && test.says != "" {
				t.Errorf("error %v, want %q", err, test.says)
			}
			if test.id == "" && !errors.Is(err, assign.ErrNoProviderID) {
				t.Errorf("error %v is not ErrNoProviderID", err)
			}
			if err == nil {
				if again, err := assign.ParseID(got.ID()); err != nil || again != got {
					t.Errorf("ParseID(%s) = %v, %v", got.ID(), again, err)
				}
			}
		})
	}
}
