package localcluster_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/test/leaks"
	"github.com/podid-io/podid/test/localcluster"
)

const scaleSet = "azure:///subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/pool/virtualMachines/"

// startCluster starts a cluster of two nodes and bounds the test's context.
func startCluster(t *testing.T) (context.Context, *localcluster.Cluster, client.WithWatch) {
	t.Helper()
	localcluster.Require(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	began := time.Now()
	c, err := localcluster.Start(ctx, localcluster.Config{
		Dir: t.TempDir(),
		Nodes: []localcluster.NodeConfig{
			{Name: "node-0", ProviderID: scaleSet + "0"},
			{Name: "node-1", ProviderID: scaleSet + "1", Labels: map[string]string{"disk": "fast"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	t.Logf("the cluster took %s", time.Since(began))
	return ctx, c, newClient(t, c.Kubeconfig())
}

// run creates a pod and waits until it runs.
func run(ctx context.Context, t *testing.T, c *localcluster.Cluster, api client.Client, object *corev1.Pod) *localcluster.Pod {
	t.Helper()
	if err := api.Create(ctx, object); err != nil {
		t.Fatal(err)
	}
	p, err := c.Pod(ctx, object.Namespace, object.Name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func onNode(object *corev1.Pod, node string) *corev1.Pod {
	object.Spec.NodeName = node
	return object
}

// greet listens at address by means of do, tells each caller the caller's
// address, and ends with the test.
func greet(t *testing.T, do func(func() error) error, address string) {
	t.Helper()
	var l net.Listener
	err := do(func() error {
		var err error
		l, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, conn.RemoteAddr().String())
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
}

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// seenAs calls a greeter and returns the address that it saw.
func seenAs(ctx context.Context, t *testing.T, dial dialer, address string) netip.Addr {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := dial(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := netip.ParseAddrPort(string(b))
	if err != nil {
		t.Fatal(err)
	}
	return addr.Addr()
}

func here(fn func() error) error { return fn() }

func TestPodsReachEachOtherAndTheFabricUnderTheirOwnAddresses(t *testing.T) {
	ctx, c, api := startCluster(t)
	a := run(ctx, t, c, api, onNode(pod("default", "a"), "node-0"))
	b := run(ctx, t, c, api, onNode(pod("default", "b"), "node-1"))
	near := run(ctx, t, c, api, onNode(pod("default", "near"), "node-0"))
	host := pod("default", "host")
	host.Spec.HostNetwork = true
	h := run(ctx, t, c, api, onNode(host, "node-1"))

	greet(t, a.Do, a.Addr.String()+":80")
	greet(t, b.Do, b.Addr.String()+":80")
	greet(t, c.Node("node-1").Do, "10.224.0.5:81")
	greet(t, here, localcluster.FabricAddress+":80")
	greet(t, here, localcluster.MetadataAddress+":80")

	tests := map[string]struct {
		from dialer
		to   string
		want netip.Addr
	}{
		"from a pod to one on the other node":          {a.DialContext, b.Addr.String() + ":80", a.Addr},
		"and back":                                     {b.DialContext, a.Addr.String() + ":80", b.Addr},
		"from a pod to one on its own node":            {near.DialContext, a.Addr.String() + ":80", near.Addr},
		"from a pod to its own node":                   {b.DialContext, "10.224.0.5:81", b.Addr},
		"from a pod to another node":                   {a.DialContext, "10.224.0.5:81", a.Addr},
		"from a pod to the fabric":                     {a.DialContext, localcluster.FabricAddress + ":80", a.Addr},
		"from a pod to the metadata address":           {b.DialContext, localcluster.MetadataAddress + ":80", b.Addr},
		"from a node to its pod":                       {c.Node("node-0").DialContext, a.Addr.String() + ":80", netip.MustParseAddr("10.224.0.4")},
		"from a node to the metadata address":          {c.Node("node-0").DialContext, localcluster.MetadataAddress + ":80", netip.MustParseAddr("10.224.0.4")},
		"from the fabric to a pod":                     {(&net.Dialer{}).DialContext, b.Addr.String() + ":80", netip.MustParseAddr(localcluster.FabricAddress)},
		"from a pod on the host's network to a pod":    {h.DialContext, b.Addr.String() + ":80", netip.MustParseAddr("10.224.0.5")},
		"from a pod on the host's network to metadata": {h.DialContext, localcluster.MetadataAddress + ":80", netip.MustParseAddr("10.224.0.5")},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := seenAs(ctx, t, test.from, test.to); got != test.want {
				t.Errorf("seen as %s, want %s", got, test.want)
			}
		})
	}

	t.Run("an address that no pod has is refused at once", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if _, err := a.DialContext(ctx, "tcp", "10.224.2.200:80"); err == nil || ctx.Err() != nil {
			t.Errorf("got %v, want an error from the network", err)
		}
	})
	t.Run("the node's end of a pod's veth has no address", func(t *testing.T) {
		err := c.Node("node-0").Do(func() error {
			iface, err := net.InterfaceByName(a.Interface)
			if err != nil {
				return err
			}
			addrs, err := iface.Addrs()
			for _, addr := range addrs {
				if p := netip.MustParsePrefix(addr.String()); p.Addr().Is4() {
					t.Errorf("%s has address %s", a.Interface, p)
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestTheLifeOfAPod(t *testing.T) {
	ctx, c, api := startCluster(t)
	t.Run("its status is that of a running pod", func(t *testing.T) { reportsRunning(ctx, t, c, api) })
	t.Run("deleted, its network goes before its object", func(t *testing.T) { leavesNothing(ctx, t, c, api) })
	t.Run("ended, it loses its address", func(t *testing.T) { losesItsAddress(ctx, t, c, api) })
	t.Run("its default service account comes back", func(t *testing.T) { hasAnAccount(ctx, t, api) })
}

func reportsRunning(ctx context.Context, t *testing.T, c *localcluster.Cluster, api client.WithWatch) {
	t.Helper()
	p := run(ctx, t, c, api, onNode(pod("default", "a"), "node-1"))
	var object corev1.Pod
	if err := api.Get(ctx, client.ObjectKey{Namespace: "default", Name: "a"}, &object); err != nil {
		t.Fatal(err)
	}
	status := object.Status
	if status.StartTime == nil || p.UID != object.UID || !netip.MustParsePrefix("10.224.2.0/24").Contains(p.Addr) {
		t.Errorf("pod %+v, started %v, want the object's UID, a start time, and an address of the second node", p, status.StartTime)
	}
	started := true
	want := corev1.PodStatus{
		Phase:  corev1.PodRunning,
		HostIP: "10.224.0.5", HostIPs: []corev1.HostIP{{IP: "10.224.0.5"}},
		PodIP: p.Addr.String(), PodIPs: []corev1.PodIP{{IP: p.Addr.String()}},
		QOSClass: corev1.PodQOSBestEffort,
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: "main", Image: "example.com/app", ImageID: "example.com/app", Ready: true, Started: &started,
			ContainerID: "localcluster://" + string(p.UID) + "/main",
		}},
	}
	ignore := cmp.Options{
		cmpopts.IgnoreFields(corev1.PodStatus{}, "StartTime", "Conditions"),
		cmpopts.IgnoreFields(corev1.ContainerStatus{}, "State"),
	}
	if diff := cmp.Diff(want, status, ignore); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	for _, condition := range status.Conditions {
		if condition.Status != corev1.ConditionTrue {
			t.Errorf("condition %s is %s, want True", condition.Type, condition.Status)
		}
	}
	if len(status.Conditions) != 5 || status.ContainerStatuses[0].State.Running == nil {
		t.Errorf("conditions %v and state %v, want five and running", status.Conditions, status.ContainerStatuses[0].State)
	}
}

func TestAPodWithoutANodeIsScheduled(t *testing.T) {
	ctx, c, api := startCluster(t)
	nodes := map[string]int{}
	for _, name := range []string{"a", "b", "c", "d"} {
		nodes[run(ctx, t, c, api, pod("default", name)).Node]++
	}
	if diff := cmp.Diff(map[string]int{"node-0": 2, "node-1": 2}, nodes); diff != "" {
		t.Errorf("pods per node (-want +got):\n%s", diff)
	}

	picky := pod("default", "picky")
	picky.Spec.NodeSelector = map[string]string{"disk": "fast"}
	if got := run(ctx, t, c, api, picky).Node; got != "node-1" {
		t.Errorf("a pod that selects node-1's label is on %s", got)
	}

	later := pod("default", "later")
	later.Spec.NodeSelector = map[string]string{"disk": "huge"}
	if err := api.Create(ctx, later); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AddNode(ctx, localcluster.NodeConfig{Name: "node-2", Labels: map[string]string{"disk": "huge"}}); err != nil {
		t.Fatal(err)
	}
	p, err := c.Pod(ctx, "default", "later")
	if err != nil {
		t.Fatal(err)
	}
	if p.Node != "node-2" || p.Addr != netip.MustParseAddr("10.224.3.1") {
		t.Errorf("a pod for a node that came later is on %s at %s", p.Node, p.Addr)
	}
}

func leavesNothing(ctx context.Context, t *testing.T, c *localcluster.Cluster, api client.WithWatch) {
	t.Helper()
	object := onNode(pod("default", "gone"), "node-0")
	p := run(ctx, t, c, api, object)
	greet(t, p.Do, p.Addr.String()+":80")
	resident := p.Command(ctx, "sleep", "600")
	if err := resident.Start(); err != nil {
		t.Fatal(err)
	}

	w, err := api.Watch(ctx, &corev1.PodList{}, client.InNamespace("default"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if err := api.Delete(ctx, object); err != nil {
		t.Fatal(err)
	}
	for event := range w.ResultChan() {
		if event.Type == watch.Deleted {
			break
		}
	}
	if links := linkNames(t, c.Node("node-0").Do); slices.Contains(links, p.Interface) {
		t.Errorf("the node has links %v after the pod is gone, want no %s", links, p.Interface)
	}
	if err := resident.Wait(); err == nil {
		t.Error("a program in the pod ended well, want it killed")
	}
	if _, err := p.DialContext(ctx, "tcp", "127.0.0.1:80"); err == nil {
		t.Error("the pod's network namespace can still be entered")
	}

	again := run(ctx, t, c, api, onNode(pod("default", "gone"), "node-0"))
	if again.UID == p.UID || again.Addr == p.Addr {
		t.Errorf("the pod's successor has UID %s and address %s again", again.UID, again.Addr)
	}
}

func linkNames(t *testing.T, do func(func() error) error) []string {
	t.Helper()
	var names []string
	err := do(func() error {
		links, err := net.Interfaces()
		for _, link := range links {
			names = append(names, link.Name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func losesItsAddress(ctx context.Context, t *testing.T, c *localcluster.Cluster, api client.WithWatch) {
	t.Helper()
	object := onNode(pod("default", "job"), "node-0")
	p := run(ctx, t, c, api, object)
	patch := client.MergeFrom(object.DeepCopy())
	object.Status.Phase = corev1.PodSucceeded
	if err := api.Status().Patch(ctx, object, patch); err != nil {
		t.Fatal(err)
	}
	heir := onNode(pod("default", "heir"), "node-0")
	heir.Annotations = map[string]string{localcluster.AddressAnnotation: p.Addr.String()}
	if got := run(ctx, t, c, api, heir).Addr; got != p.Addr {
		t.Errorf("a pod that asks for the address %s got %s", p.Addr, got)
	}
}

func hasAnAccount(ctx context.Context, t *testing.T, api client.WithWatch) {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}}
	w, err := api.Watch(ctx, &corev1.ServiceAccountList{}, client.InNamespace("default"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if event := <-w.ResultChan(); event.Type != watch.Added {
		t.Fatalf("got %v first", event)
	}
	if err := api.Delete(ctx, account); err != nil {
		t.Fatal(err)
	}
	for event := range w.ResultChan() {
		if event.Type == watch.Added {
			return
		}
	}
	t.Error("the account did not come back")
}

func TestStopLeavesNothingAndAnotherClusterCanStart(t *testing.T) {
	localcluster.Require(t)
	links := linkNames(t, here)
	left := leaks.Mark()
	for range 2 {
		ctx, c, api := startCluster(t)
		p := run(ctx, t, c, api, pod("default", "a"))
		if err := p.Command(ctx, "sleep", "600").Start(); err != nil {
			t.Fatal(err)
		}
		c.Stop()
		c.Stop()
		if diff := cmp.Diff(links, linkNames(t, here)); diff != "" {
			t.Errorf("links of the fabric after Stop (-before +after):\n%s", diff)
		}
		if err := left(); err != nil { // a goroutine waits for each program
			t.Error(err)
		}
		if left := children(t, os.Getpid()); len(left) > 0 {
			t.Errorf("programs left: %v", left)
		}
	}
}

func TestABurstOfPodsRuns(t *testing.T) {
	ctx, c, api := startCluster(t)
	began := time.Now()
	names := make([]string, 200)
	for i := range names {
		names[i] = "burst-" + string(rune('a'+i/26)) + string(rune('a'+i%26))
		if err := api.Create(ctx, pod("default", names[i])); err != nil {
			t.Fatal(err)
		}
	}
	created := time.Since(began)
	seen := map[netip.Addr]bool{}
	for _, name := range names {
		p, err := c.Pod(ctx, "default", name)
		if err != nil {
			t.Fatal(err)
		}
		seen[p.Addr] = true
	}
	t.Logf("%d pods created in %s, all running after %s", len(names), created, time.Since(began))
	if len(seen) != len(names) {
		t.Errorf("%d pods have %d addresses", len(names), len(seen))
	}
}
