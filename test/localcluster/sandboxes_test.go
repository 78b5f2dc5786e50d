package localcluster_test

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/test/localcluster"
)

// evidence is the time that a pod's containers have been running since, as the
// API server tells it, and the pod's address.
func evidence(ctx context.Context, t *testing.T, api client.Client, name string) (time.Time, string) {
	t.Helper()
	var object corev1.Pod
	if err := api.Get(ctx, client.ObjectKey{Namespace: "default", Name: name}, &object); err != nil {
		t.Fatal(err)
	}
	since := object.Status.ContainerStatuses[0].State.Running.StartedAt.Time
	for _, c := range object.Status.Conditions {
		if c.Type == corev1.PodReadyToStartContainers && !c.LastTransitionTime.Time.Equal(since) {
			t.Errorf("ready to start containers since %s, containers run since %s", c.LastTransitionTime, since)
		}
	}
	return since, object.Status.PodIP
}

func TestInitContainersAreReported(t *testing.T) {
	ctx, c, api := startCluster(t)
	object, always := pod("default", "a"), corev1.ContainerRestartPolicyAlways
	object.Spec.InitContainers = []corev1.Container{
		{Name: "once", Image: "example.com/init"}, {Name: "sidecar", Image: "example.com/side", RestartPolicy: &always},
	}
	run(ctx, t, c, api, object)
	var got corev1.Pod
	if err := api.Get(ctx, client.ObjectKeyFromObject(object), &got); err != nil {
		t.Fatal(err)
	}
	states := got.Status.InitContainerStatuses
	if len(states) != 2 || states[0].State.Terminated == nil || states[1].State.Running == nil {
		t.Errorf("init containers are %+v, want one that is over and one that runs", states)
	}
}

func TestASandboxIsReplaced(t *testing.T) {
	ctx, c, api := startCluster(t)
	for name, other := range map[string]bool{"with the same address": false, "with another address": true} {
		t.Run(name, func(t *testing.T) {
			object := pod("default", "same")
			want := netip.Addr{}
			if other {
				object.Name = "other"
			}
			old := run(ctx, t, c, api, onNode(object, "node-0"))
			before, _ := evidence(ctx, t, api, object.Name)
			if other {
				want = netip.MustParseAddr("10.224.1.77")
			}
			if _, err := c.ReplaceSandbox(ctx, old, want); err != nil {
				t.Fatal(err)
			}
			p, err := c.Pod(ctx, "default", object.Name)
			if err != nil {
				t.Fatal(err)
			}
			if !other {
				want = old.Addr
			}
			after, told := evidence(ctx, t, api, object.Name)
			if p.Addr != want || p.UID != old.UID || p.Interface == old.Interface || told != want.String() || !after.After(before) {
				t.Errorf("pod %+v told as %s since %s, want address %s, a new link and a time after %s", p, told, after, want, before)
			}
			greet(t, p.Do, p.Addr.String()+":80")
			seenAs(ctx, t, c.Node("node-1").DialContext, p.Addr.String()+":80")
			if _, err := c.ReplaceSandbox(ctx, old, netip.Addr{}); err == nil {
				t.Error("the sandbox of a pod that is no more was replaced")
			}
		})
	}
}

func TestANodeReboots(t *testing.T) {
	ctx, c, api := startCluster(t)
	var old []*localcluster.Pod
	for _, name := range []string{"a", "b", "c"} {
		old = append(old, run(ctx, t, c, api, onNode(pod("default", name), "node-0")))
	}
	now, err := c.Reboot(ctx, "node-0")
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range now {
		if p.Name != old[i].Name || p.Addr != old[(i+1)%3].Addr || p.Interface == old[i].Interface {
			t.Errorf("pod %s at %s on %s, want the address %s and a new link", p.Name, p.Addr, p.Interface, old[(i+1)%3].Addr)
		}
		if _, told := evidence(ctx, t, api, p.Name); told != old[i].Addr.String() {
			t.Errorf("pod %s is told at %s right after the reboot, want the old address %s", p.Name, told, old[i].Addr)
		}
	}
	if links := linkNames(t, c.Node("node-0").Do); slices.Contains(links, old[0].Interface) {
		t.Errorf("the old link %s is still there: %v", old[0].Interface, links)
	}
	before, _ := evidence(ctx, t, api, "a")
	c.ReportStatus("node-0")
	for _, p := range now {
		if got, err := c.Pod(ctx, "default", p.Name); err != nil || got != p {
			t.Fatalf("pod %+v, %v, want the rebooted one", got, err)
		}
		if since, told := evidence(ctx, t, api, p.Name); told != p.Addr.String() || !since.After(before) {
			t.Errorf("pod %s is told at %s since %s, want %s after %s", p.Name, told, since, p.Addr, before)
		}
	}
}

func TestPodsHangOnABridge(t *testing.T) {
	ctx, c, api := startCluster(t)
	node, err := c.AddNode(ctx, localcluster.NodeConfig{Name: "bridged", Bridge: true})
	if err != nil {
		t.Fatal(err)
	}
	a := run(ctx, t, c, api, onNode(pod("default", "a"), "bridged"))
	b := run(ctx, t, c, api, onNode(pod("default", "b"), "bridged"))
	far := run(ctx, t, c, api, onNode(pod("default", "far"), "node-0"))
	for _, p := range []*localcluster.Pod{a, b, far} {
		greet(t, p.Do, p.Addr.String()+":80")
	}
	greet(t, here, localcluster.MetadataAddress+":80")
	if got := seenAs(ctx, t, a.DialContext, b.Addr.String()+":80"); got != a.Addr {
		t.Errorf("a neighbour is seen as %s", got)
	}
	if got := seenAs(ctx, t, far.DialContext, b.Addr.String()+":80"); got != far.Addr {
		t.Errorf("a pod of another node is seen as %s", got)
	}
	if got := seenAs(ctx, t, a.DialContext, localcluster.MetadataAddress+":80"); got != a.Addr {
		t.Errorf("the metadata service sees %s", got)
	}
	if got := seenAs(ctx, t, node.DialContext, a.Addr.String()+":80"); !node.PodRange.Contains(got) {
		t.Errorf("a pod sees its node as %s, want the bridge's address", got)
	}
}
