package node_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
)

// uninstall takes podid away, with clients that still run: nothing of it is left
// on nodes, objects and machines.
func uninstall(t *testing.T, w *world) {
	t.Helper()
	w.helm(t, "uninstall", "podid", "--namespace", systemNamespace, "--wait", "--timeout", "5m")
	for _, m := range w.full.Machines()[:2] {
		if err := m.Do(nothingLeft); err != nil {
			t.Errorf("on %s: %v", m.Name, err)
		}
		nft, err := m.Command(t.Context(), "nft", "list", "tables")
		if err != nil {
			t.Fatal(err)
		}
		if tables, err := nft.CombinedOutput(); err != nil || strings.Contains(string(tables), "podid") {
			t.Errorf("on %s the tables of nftables are %q (%v), want none of podid's", m.Name, tables, err)
		}
	}
	// The emulator answers by itself now: it knows the nodes, and no pods.
	out, err := w.exec(t, "default", "vault-app", "/workload", "ask", "-to", "")
	if err == nil || !strings.Contains(out, "answered 4") || !strings.Contains(out, "emulator") {
		t.Errorf("after uninstalling, a pod is told %s (%v), want the metadata service's own refusal", out, err)
	}
	t.Logf("a pod is told now: %s", strings.TrimSpace(out))
	w.checkObjects(t)
	var pods corev1.PodList
	if err := w.client.List(t.Context(), &pods, client.InNamespace(systemNamespace)); err != nil {
		t.Fatal(err)
	}
	for i := range pods.Items {
		if p := &pods.Items[i]; p.DeletionTimestamp == nil {
			t.Errorf("pod %s is left", p.Name)
		}
	}
	state, err := w.azure.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{identityID("podid-mic")}, state.ScaleSets[0].Identity.UserAssigned); diff != "" {
		t.Errorf("identities on the scale set (-want +got):\n%s", diff)
	}
}

// nothingLeft looks for what nmi makes on a node beside its table.
func nothingLeft() error {
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "podid") {
			return leftError("link " + l.Attrs().Name)
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	addresses, err := netlink.AddrList(lo, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for _, a := range addresses {
		if !a.IP.IsLoopback() {
			return leftError("address " + a.IP.String() + " of lo")
		}
	}
	return nil
}

// leftError names what should not be there any more.
type leftError string

func (e leftError) Error() string { return string(e) + " is left" }

// checkObjects looks for finalizers and taints of podid's, and deletes its
// objects, which nothing may hold up.
func (w *world) checkObjects(t *testing.T) {
	t.Helper()
	var nodes corev1.NodeList
	if err := w.client.List(t.Context(), &nodes); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes.Items {
		for _, taint := range n.Spec.Taints {
			if strings.Contains(taint.Key, "podid") {
				t.Errorf("node %s has the taint %s", n.Name, taint.Key)
			}
		}
	}
	for _, list := range []client.ObjectList{
		&v1.AzureAssignedIdentityList{}, &v1.AzureIdentityBindingList{}, &v1.AzureIdentityList{}, &v1.AzurePodIdentityExceptionList{},
	} {
		if err := w.client.List(t.Context(), list); err != nil {
			t.Errorf("list %T: %v", list, err) // the definitions stay
		}
		err := meta.EachListItem(list, func(o runtime.Object) error {
			c, is := o.(client.Object)
			if !is {
				return fmt.Errorf("%T is no object", o)
			}
			if f := c.GetFinalizers(); len(f) > 0 {
				t.Errorf("%T %s has finalizers %q", o, c.GetName(), f)
			}
			return w.client.Delete(t.Context(), c)
		})
		if err != nil {
			t.Error(err)
		}
		eventually(t, time.Minute, func() error {
			if err := w.client.List(t.Context(), list); err != nil {
				return err
			}
			if n := meta.LenList(list); n > 0 {
				return leftError(fmt.Sprintf("%d of %T", n, list))
			}
			return nil
		})
	}
}
