package mic_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/mic"
)

// theirs is an object of AAD Pod Identity for a pod on a node.
func (w *world) theirs(identity, node string, kind v1.IdentityType, state v1.AssignedState) client.Object {
	return &v1.AzureAssignedIdentity{
		ObjectMeta: metav1.ObjectMeta{
			Name: "pod-" + node + "-" + identity, Labels: map[string]string{v1.LabelNodeName: node}, Finalizers: []string{assign.LegacyFinalizer},
		},
		Spec: v1.AzureAssignedIdentitySpec{
			AzureIdentityRef: &v1.AzureIdentityRef{
				APIVersion: v1.GroupVersion.String(), Kind: "AzureIdentity",
				ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: identity},
				Spec:       v1.AzureIdentitySpec{Type: new(kind), ResourceID: strings.ToUpper(identityID(identity))},
			},
			Pod: "pod", PodNamespace: w.ns, NodeName: node,
		},
		Status: v1.AzureAssignedIdentityStatus{Status: state, AvailableReplicas: 1},
	}
}

// legacyWorld is a world where AAD Pod Identity has attached reader to pool, and
// others have attached the rest.
func legacyWorld(t *testing.T) *world {
	t.Helper()
	names := []string{"reader", "waiting", "immutable", "unnamed", "lost", "other"}
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, names)})
	var ids []string
	for _, name := range names {
		ids = append(ids, identityID(name))
		if name != "unnamed" {
			w.apply(w.ns, identity(name)...)
		}
	}
	must(t, w.azure.Edit(azemu.Edit{Scope: setID("pool"), Attach: ids}))
	w.apply("", node("node-0", strings.ToUpper(setID("pool"))+"/virtualMachines/0"))
	w.apply(
		w.ns, w.theirs("reader", "node-0", v1.UserAssignedMSI, v1.Assigned),
		w.theirs("waiting", "node-0", v1.UserAssignedMSI, v1.Created),
		w.theirs("immutable", "node-0", v1.UserAssignedMSI, v1.Assigned),
		w.theirs("unnamed", "node-0", v1.UserAssignedMSI, v1.Assigned),
		w.theirs("lost", "gone", v1.UserAssignedMSI, v1.Assigned),
		w.theirs("other", "node-0", v1.ServicePrincipal, v1.Assigned),
	)
	w.edit = func(c *mic.Config) { c.Immutable = []string{w.clientOf("immutable")} }
	return w
}

func TestCleanupTakesOffWhatAADPodIdentityAttached(t *testing.T) {
	w := legacyWorld(t)
	said, err := w.cleanup(patience, true)
	if err != nil || len(w.assigned()) > 0 || w.records() > 0 {
		t.Errorf("cleanup ended with %v, %v and %d records are left; it said:\n%s", err, w.assigned(), w.records(), said)
	}
	if diff := cmp.Diff([]string{"immutable", "lost", "other", "unnamed", "waiting"}, w.attached("pool")); diff != "" {
		t.Errorf("the scale set has (-want +got):\n%s", diff)
	}
	for _, want := range []string{
		"detached " + strings.ToLower(identityID("reader")), "not podid's to detach, and stays: " + strings.ToLower(identityID("immutable")),
		"there is no AzureIdentity with that resourceID, so that " + strings.ToLower(identityID("unnamed")) + " stays where it is",
		`there is no node "gone" of Azure, so that ` + strings.ToLower(identityID("lost")) + " stays where it is",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("said\n%s\nwant %q in it", said, want)
		}
	}
}

func TestCleanupRemembersWhatAADPodIdentityAttached(t *testing.T) {
	w := legacyWorld(t)
	must(t, w.azure.SetFault(azemu.EndpointVMSSGet, azemu.Fault{Status: 403, Code: "AuthorizationFailed", Times: 1}))
	said, err := w.cleanup(patience, true)
	if err == nil || w.records() != 1 || len(w.assigned()) > 0 {
		t.Errorf("cleanup ended with %v, %v and %d records are left; it said:\n%s", err, w.assigned(), w.records(), said)
	}
	if said, err = w.cleanup(patience, false); err != nil || w.records() > 0 {
		t.Errorf("a second time ended with %v, %d records are left; it said:\n%s", err, w.records(), said)
	}
	if diff := cmp.Diff([]string{"immutable", "lost", "other", "unnamed", "waiting"}, w.attached("pool")); diff != "" {
		t.Errorf("the scale set has (-want +got):\n%s", diff)
	}
}

func TestCleanupWithoutLegacyLeavesAADPodIdentityAlone(t *testing.T) {
	w := legacyWorld(t)
	if said, err := w.cleanup(patience, false); err != nil || w.patches() > 0 || len(w.assigned()) != 6 {
		t.Errorf("cleanup ended with %v after %d PATCHes, with %v; it said:\n%s", err, w.patches(), w.assigned(), said)
	}
	w.edit = nil
	if said, err := w.cleanup(patience, true); err != nil { // so that the namespace is empty
		t.Errorf("cleanup ended with %v; it said:\n%s", err, said)
	}
}
