package node_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/test/localcluster"
)

// What the emulated subscription holds. The first three stand in
// examples/quickstart.
const (
	group    = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/podid-demo"
	scaleSet = group + "/providers/Microsoft.Compute/virtualMachineScaleSets/vmss"
	tenant   = "44444444-4444-4444-4444-444444444444"

	vaultClient = "22222222-2222-2222-2222-222222222222"
	blobClient  = "33333333-3333-3333-3333-333333333333"
	micClient   = "99999999-9999-9999-9999-999999999999"

	systemNamespace = "podid-system"
)

// machineName is the name of an instance of the scale set. The first two give
// each pod a link of its own, the third has a bridge.
func machineName(i int) string { return fmt.Sprintf("vmss%06d", i) }

func machineConfig(i int) localcluster.MachineConfig {
	return localcluster.MachineConfig{
		Name: machineName(i), ProviderID: fmt.Sprintf("azure://%s/virtualMachines/%d", scaleSet, i), Bridge: i == 2,
	}
}

func identityID(name string) string {
	return group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + name
}

// clientOf is the client id of one of the identities of the kinds of workloads.
func clientOf(i int) string { return fmt.Sprintf("55555555-5555-5555-5555-%012d", i) }

// world is a cluster where containers run, beside an Azure.
type world struct {
	full    *localcluster.Full
	client  client.WithWatch
	azure   *azemu.Client
	reports *reports
	dir     string // logs, keys and configuration
}

// startWorld starts it, without podid.
func startWorld(t *testing.T) *world {
	t.Helper()
	w := &world{dir: t.TempDir()}
	w.start(t, localcluster.FullConfig{
		Dir: w.dir, Images: images(t), Progress: os.Stderr,
		Machines: []localcluster.MachineConfig{machineConfig(0), machineConfig(1)},
	})
	w.reports = collect(t)
	w.startAzure(t)
	return w
}

// start starts the cluster.
func (w *world) start(t *testing.T, c localcluster.FullConfig) {
	t.Helper()
	keepsUntouched(t)
	var err error
	if w.full, err = localcluster.StartFull(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.full.Stop)
	t.Cleanup(func() { w.keepLogs(t) })
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), appsv1.AddToScheme(scheme), batchv1.AddToScheme(scheme), networkingv1.AddToScheme(scheme), rbacv1.AddToScheme(scheme), v1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	if w.client, err = client.NewWithWatch(w.full.REST(), client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
}

// startAzure starts the emulator with what the test of everything needs.
func (w *world) startAzure(t *testing.T) {
	t.Helper()
	state := azemu.State{Tenant: tenant}
	for i, kind := range kinds() {
		state.Identities = append(state.Identities, azemu.Identity{ID: identityID(kind.name), ClientID: clientOf(i)})
	}
	w.serveAzure(t, azemu.Config{Seed: state, IMDSLimits: true, ARMLimits: true})
}

// serveAzure starts the emulator in the network that the nodes hang on: it is
// what stands behind their default route at the metadata address. The scale set
// and the identities of the examples are there beside the seed.
func (w *world) serveAzure(t *testing.T, c azemu.Config) {
	t.Helper()
	set := azemu.ScaleSet{ID: scaleSet, Identity: &azemu.Assigned{Type: "UserAssigned", UserAssigned: []string{identityID("podid-mic")}}}
	for i := range 3 {
		node := netip.AddrFrom4([4]byte{10, 224, 0, byte(4 + i)})
		set.Instances = append(set.Instances, azemu.Instance{
			InstanceID: fmt.Sprint(i), Name: machineName(i), Sources: []netip.Prefix{netip.PrefixFrom(node, 32)},
		})
	}
	c.Seed.ScaleSets = []azemu.ScaleSet{set}
	c.Seed.Identities = append(
		c.Seed.Identities, azemu.Identity{ID: identityID("vault-reader"), ClientID: vaultClient},
		azemu.Identity{ID: identityID("blob-reader"), ClientID: blobClient}, azemu.Identity{ID: identityID("podid-mic"), ClientID: micClient},
	)
	c.Hosts = []string{localcluster.FabricAddress}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { // ends with the test
		ended <- azemu.Serve(ctx, azemu.ServeConfig{
			Config:      c,
			Listen:      localcluster.FabricAddress + ":8443",
			AdminListen: localcluster.FabricAddress + ":8444",
			IMDSListen:  localcluster.MetadataAddress + ":80",
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	w.azure = azemu.NewClient("http://" + localcluster.FabricAddress + ":8444")
	eventually(t, time.Minute, func() error {
		_, err := w.azure.CA(t.Context())
		return err
	})
}

// create creates objects.
func (w *world) create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := w.client.Create(t.Context(), o); err != nil {
			t.Fatalf("create %T %s: %v", o, o.GetName(), err)
		}
	}
}

// until watches objects of a kind until one fits.
func until[T client.Object](t *testing.T, w *world, limit time.Duration, what string, list client.ObjectList, ok func(watch.EventType, T) bool, opts ...client.ListOption) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	events, err := w.client.Watch(ctx, list, opts...) // begins with what is there
	if err != nil {
		t.Fatal(err)
	}
	defer events.Stop()
	var seen T
	for e := range events.ResultChan() {
		o, is := e.Object.(T)
		if !is {
			t.Fatalf("watch: %+v", e.Object)
		}
		if seen = o; ok(e.Type, o) {
			return
		}
	}
	t.Fatalf("%s: not within %s; the last seen is %+v", what, limit, seen)
}

// eventually asks again until the answer is good: for what nobody tells of.
func eventually(t *testing.T, limit time.Duration, ok func() error) {
	t.Helper()
	err := ok()
	deadline := time.Now().Add(limit)
	for tick := time.Tick(100 * time.Millisecond); err != nil && time.Now().Before(deadline); <-tick {
		err = ok()
	}
	if err != nil {
		t.Fatalf("after %s: %v", limit, err)
	}
}
