package roles_test

import (
	"strings"
	"testing"

	"github.com/podid-io/podid/internal/azemu"
)

// Roles on a group and on what is in it stand in for each other: neither is told to go
// while there is a need for the job.
func TestAnotherIdentityScopeLeavesNothingOver(t *testing.T) {
	const group = "--identity-scope=resource-group"
	for sentence, test := range map[string]struct{ before, after []string }{
		"from the group to its identities":                      {before: []string{group}},
		"from the identities to their group":                    {after: []string{group}},
		"from the group to its identities, custom roles":        {before: []string{group, "--least-privilege"}, after: []string{"--least-privilege"}},
		"from the identities to their group, from custom roles": {before: []string{"--least-privilege"}, after: []string{group}},
	} {
		t.Run(sentence, func(t *testing.T) {
			w := newWorld(t)
			who := []string{"--principal-id", micObject, "--apply"}
			w.says(t, 0, append(who, test.before...), " made, 0 failed.")
			for range 2 { // what is missing is made, and then nothing is
				if _, out, _ := w.run(append(who, test.after...)...); strings.Contains(out, "No longer needed") {
					t.Errorf("told to delete what serves: %s", out)
				}
			}
		})
	}
}

// A role for machines does not serve an identity in the same group.
func TestARoleForAnotherJobIsNoLongerNeeded(t *testing.T) {
	w := newAzure(t)
	must(t, w.azure.MergeState(azemu.State{VMs: []azemu.VM{{ID: appGroup + "/providers/Microsoft.Compute/virtualMachines/gone"}}}))
	t.Run("before", func(t *testing.T) {
		populate(t, node("gone", "azure://"+appGroup+"/providers/Microsoft.Compute/virtualMachines/gone"))
		w.says(t, 0, []string{"--principal-id", micObject, "--apply", "--node-resource-group", "apps", "--node-resource-group", "mc_group"}, "4 of 4 made")
	})
	populate(t)
	w.says(t, 0, []string{"--principal-id", micObject}, "# Virtual Machine Contributor on "+subscription+"/resourceGroups/apps")
}
