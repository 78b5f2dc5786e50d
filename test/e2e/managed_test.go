package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/cli/demo"
	"github.com/podid-io/podid/test/localcluster"
)

// TestManagedModeNeedsNoController runs nmi alone on nodes that somebody else has
// put an identity on: no mic, no AzureAssignedIdentity.
func TestManagedModeNeedsNoController(t *testing.T) {
	w := startWorld(t, 0, func(c *demo.Config) {
		c.NoMIC = true
		c.AgentFlags = []string{"--operation-mode=managed"}
	})
	const there, missing = "cccccccc-0000-0000-0000-00000000000a", "cccccccc-0000-0000-0000-00000000000b"
	set := subscription + "/resourceGroups/podid-demo/providers/Microsoft.Compute/virtualMachineScaleSets/aks-pool-12345678-vmss"
	merge(t, w, azemu.State{
		Identities: []azemu.Identity{{ID: identityID("podid-demo", "there"), ClientID: there}, {ID: identityID("podid-demo", "missing"), ClientID: missing}},
		ScaleSets:  []azemu.ScaleSet{{ID: set, Identity: &azemu.Assigned{UserAssigned: []string{identityID("podid-demo", "there")}}}},
	})
	bind(t, w, "there", there)
	bind(t, w, "missing", missing)
	on := run(t, w, newPod(w, "default", "on-the-node", map[string]string{v1.LabelBinding: "there"}))
	off := run(t, w, newPod(w, "default", "not-on-the-node", map[string]string{v1.LabelBinding: "missing"}))
	wantOwner(t, on, "", there)
	wantHeld := func(p *localcluster.Pod, says string) {
		t.Helper()
		status, body, err := fetch(t.Context(), p.DialContext, tokenURL)
		if err != nil || status != http.StatusNotFound || !strings.Contains(body, says) {
			t.Errorf("answered %d %s (%v), want 404 and %q", status, withoutToken(body), err, says)
		}
	}
	replaceAgent(t, w, w.Cluster.Nodes()[0], "impatient", "--hold=5s")
	wantHeld(off, "does not know the identity yet")
	replaceAgent(t, w, w.Cluster.Nodes()[0], "standard", "--operation-mode=standard", "--hold=5s")
	wantHeld(on, "on its way") // mic would tell that it is there
}
