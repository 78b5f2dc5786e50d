package nodeview

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
)

var addr = netip.MustParseAddr("10.224.4.10")

// boot is when the node of the tests was booted; start, when its pods started.
var (
	boot  = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	start = boot.Add(time.Minute)
)

// newTestView is the complete view of a node all of whose addresses are on link 7.
func newTestView(edits ...func(*Config)) *View {
	c := Config{LinkOf: func(netip.Addr) int { return 7 }, Boot: boot}
	for _, e := range edits {
		e(&c)
	}
	v := newView(c)
	v.LinkUp(7, "02:00:00:00:00:07", time.Time{})
	v.setSynced()
	return v
}

// started says when the one container of a pod started.
func started(at time.Time) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(at)}},
		}}
	}
}

// pod makes a running pod of the API, which edits then change.
func pod(name, uid string, edits ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, UID: types.UID(uid), Labels: map[string]string{v1.LabelBinding: "web"}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: addr.String()}}},
	}
	started(start)(p)
	for _, e := range edits {
		e(p)
	}
	return p
}

func phase(ph corev1.PodPhase) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Status.Phase = ph }
}

func assignedIdentity(uid string, state v1.AssignedState, clientID string) *v1.AzureAssignedIdentity {
	a := &v1.AzureAssignedIdentity{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "web-team-blue"},
		Spec: v1.AzureAssignedIdentitySpec{
			Pod: "web", PodNamespace: "team", PodUID: uid,
			AzureIdentityRef: &v1.AzureIdentityRef{
				ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "blue"},
				Spec:       v1.AzureIdentitySpec{OldClientID: clientID, ResourceID: "/Blue"},
			},
		},
	}
	a.Status.Status = state
	return a
}

func TestByIP(t *testing.T) {
	tests := map[string]struct {
		events  func(*View)
		wantPod string
		wantErr error
	}{
		"nobody":        {func(*View) {}, "", ErrUnknown},
		"a running pod": {func(v *View) { v.applyPod(pod("web", "1")) }, "1", nil},
		"an init container runs in a pending pod": {func(v *View) { v.applyPod(pod("web", "1", phase(corev1.PodPending))) }, "1", nil},
		"a pod that has ended":                    {func(v *View) { v.applyPod(pod("job", "1", phase(corev1.PodSucceeded))) }, "", ErrUnknown},
		"a pod that ran and has ended": {func(v *View) {
			v.applyPod(pod("job", "1"))
			v.applyPod(pod("job", "1", phase(corev1.PodFailed)))
		}, "", ErrUnknown},
		"a pod in the node's own network": {func(v *View) {
			v.applyPod(pod("agent", "1", func(p *corev1.Pod) { p.Spec.HostNetwork = true }))
		}, "", ErrUnknown},
		"a deleted pod": {func(v *View) { v.applyPod(pod("web", "1")); v.deletePod("1") }, "", ErrUnknown},
		"the second address of a pod": {func(v *View) {
			v.applyPod(pod("web", "1", func(p *corev1.Pod) { p.Status.PodIPs = []corev1.PodIP{{IP: "fd00::1"}, {IP: addr.String()}} }))
		}, "1", nil},
		"two pods claim it": {func(v *View) { v.applyPod(pod("web", "1")); v.applyPod(pod("db", "2")) }, "", ErrAmbiguous},
		"an ended pod and its successor": {func(v *View) {
			v.applyPod(pod("job", "1", phase(corev1.PodSucceeded)))
			v.applyPod(pod("web", "2"))
		}, "2", nil},
		"a pod that moved away": {func(v *View) {
			v.applyPod(pod("web", "1"))
			v.applyPod(pod("web", "1", func(p *corev1.Pod) { p.Status.PodIPs = []corev1.PodIP{{IP: "10.0.0.1"}} }))
		}, "", ErrUnknown},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			v := newTestView()
			tc.events(v)
			found, _, err := v.ByIP(addr, 7)
			if !errors.Is(err, tc.wantErr) || found.Pod.UID != tc.wantPod {
				t.Errorf("ByIP() = %q, %v; want %q, %v", found.Pod.UID, err, tc.wantPod, tc.wantErr)
			}
		})
	}
}

func TestNothingIsFinalBeforeTheFirstLists(t *testing.T) {
	v := newTestView()
	v.synced = false
	v.applyPod(pod("web", "1"))
	_, changed, err := v.ByIP(addr, 7)
	if !errors.Is(err, ErrNotSynced) {
		t.Errorf("ByIP() = %v, want ErrNotSynced", err)
	}
	v.setSynced()
	select {
	case <-changed:
	default:
		t.Error("the first lists woke nobody")
	}
}

func TestReady(t *testing.T) {
	tests := map[string]struct {
		assigned *v1.AzureAssignedIdentity
		want     bool
	}{
		"assigned":                             {assignedIdentity("1", v1.Assigned, "Blue-Client"), true},
		"on its way":                           {assignedIdentity("1", v1.Created, "Blue-Client"), false},
		"taken off":                            {assignedIdentity("1", v1.Unassigned, "Blue-Client"), false},
		"without a state, from before 1.5":     {assignedIdentity("", "", "Blue-Client"), true},
		"without a uid, of AAD Pod Identity":   {assignedIdentity("", v1.Assigned, "Blue-Client"), true},
		"for an earlier pod of that name":      {assignedIdentity("0", v1.Assigned, "Blue-Client"), false},
		"for what the identity was before":     {assignedIdentity("1", v1.Assigned, "other"), false},
		"evidence without an identity in it":   {&v1.AzureAssignedIdentity{Spec: v1.AzureAssignedIdentitySpec{Pod: "web", PodNamespace: "team"}}, false},
		"evidence for a pod of another's name": {&v1.AzureAssignedIdentity{Spec: v1.AzureAssignedIdentitySpec{Pod: "web", PodNamespace: "other"}}, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			v := newTestView()
			v.applyPod(pod("web", "1"))
			v.setIdentity(identity.Identity{Namespace: "team", Name: "blue", ClientID: "blue-client", ResourceID: "/blue"})
			v.setBinding(identity.Binding{Namespace: "team", Name: "b", Identity: "blue", Selector: "web"})
			before, changed, err := v.ByIP(addr, 7)
			if err != nil || len(before.Grants) != 1 || before.Grants[0].Ready {
				t.Fatalf("without evidence: %+v, %v", before, err)
			}
			v.setAssigned(nameOf(tc.assigned), assignmentFromAPI(tc.assigned))
			<-changed
			after, _, _ := v.ByIP(addr, 7)
			if got := after.Grants[0].Ready; got != tc.want {
				t.Errorf("Ready = %t, want %t", got, tc.want)
			}
			v.deleteAssigned(nameOf(tc.assigned))
			if again, _, _ := v.ByIP(addr, 7); again.Grants[0].Ready {
				t.Error("still ready when the evidence is gone")
			}
		})
	}
}

func TestGrantsFollowEveryEvent(t *testing.T) {
	v := newTestView()
	v.applyPod(pod("web", "1"))
	granted := func() (names []string) {
		found, _, err := v.ByIP(addr, 7)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range found.Grants {
			names = append(names, g.Identity.Name)
		}
		return names
	}
	steps := []struct {
		what string
		do   func()
		want []string
	}{
		{"a binding without its identity", func() {
			v.setBinding(identity.Binding{Namespace: "team", Name: "b", Identity: "blue", Selector: "web"})
		}, nil},
		{"the identity comes", func() { v.setIdentity(identity.Identity{Namespace: "team", Name: "blue"}) }, []string{"blue"}},
		{"a binding of another namespace", func() {
			v.setBinding(identity.Binding{Namespace: "other", Name: "b", Identity: "blue", Selector: "web"})
		}, []string{"blue"}},
		{"the binding turns to another selector", func() { v.setBinding(identity.Binding{Namespace: "team", Name: "b", Identity: "blue", Selector: "db"}) }, nil},
		{"and back", func() {
			v.setBinding(identity.Binding{Namespace: "team", Name: "b", Identity: "blue", Selector: "web"})
		}, []string{"blue"}},
		{"the pod loses its label", func() { v.applyPod(pod("web", "1", func(p *corev1.Pod) { p.Labels = nil })) }, nil},
		{"and has it again", func() {
			v.applyPod(pod("web", "1", func(p *corev1.Pod) { p.Spec.ServiceAccountName = "sa" }))
		}, []string{"blue"}},
		{"the identity gets a list without it", func() {
			v.setIdentity(identity.Identity{Namespace: "team", Name: "blue", Allowed: identity.Allowed{ServiceAccounts: []string{"team/db"}}})
		}, nil},
		{"the list comes to name it", func() {
			v.setIdentity(identity.Identity{Namespace: "team", Name: "blue", Allowed: identity.Allowed{ServiceAccounts: []string{"team/db", "team/sa"}}})
		}, []string{"blue"}},
		{"the pod comes again, of another service account", func() {
			v.applyPod(pod("web", "1", func(p *corev1.Pod) { p.Spec.ServiceAccountName = "default" }))
		}, nil},
		{"the list goes", func() { v.setIdentity(identity.Identity{Namespace: "team", Name: "blue"}) }, []string{"blue"}},
		{"the binding goes", func() { v.deleteBinding(name{"team", "b"}) }, nil},
		{"the binding comes, the identity goes", func() {
			v.setBinding(identity.Binding{Namespace: "team", Name: "b", Identity: "blue", Selector: "web"})
			v.deleteIdentity(name{"team", "blue"})
		}, nil},
	}
	for _, s := range steps {
		s.do()
		if diff := cmp.Diff(s.want, granted()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.what, diff)
		}
	}
}

func TestStripPodKeepsWhatIsRead(t *testing.T) {
	full := pod("web", "1", func(p *corev1.Pod) {
		p.Spec.ServiceAccountName, p.Spec.NodeName = "sa", "node"
		p.Labels["app"] = "web"
		p.Annotations = map[string]string{v1.AnnotationPrefetch: "https://vault.azure.net", "other": "annotation"}
		p.Spec.Containers = []corev1.Container{{Name: "c"}}
		p.Spec.Volumes = []corev1.Volume{
			{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "s", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: SecretsStoreDriver, VolumeAttributes: map[string]string{"a": "b"}}}},
		}
		p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "done", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}}
	})
	stripped, err := stripPod(full.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	p := stripped.(*corev1.Pod)
	if len(p.Spec.Containers) != 0 || len(p.Spec.Volumes) != 1 || len(p.Annotations) != 1 || len(p.Status.InitContainerStatuses) != 0 {
		t.Errorf("the stripped pod still has %v, %v, %v and %v", p.Spec.Containers, p.Spec.Volumes, p.Annotations, p.Status.InitContainerStatuses)
	}
	a, b := newTestView(), newTestView()
	for v, o := range map[*View]*corev1.Pod{a: full, b: p} {
		v.applyPod(o)
	}
	want, _, _ := a.ByIP(addr, 7)
	got, _, _ := b.ByIP(addr, 7)
	if !want.SecretsStore || len(want.Prefetch) != 1 || want.Pod.UID == "" {
		t.Errorf("the whole pod is seen as %+v", want)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("a stripped pod is seen otherwise (-full +stripped):\n%s", diff)
	}
}

// TestAnAddressComesWithItsLink replays what can happen when an address goes
// from one pod to another faster than the API server tells.
func TestAnAddressComesWithItsLink(t *testing.T) {
	const oldLink, newLink = 7, 8
	current := oldLink
	v := newTestView(func(c *Config) { c.LinkOf = func(netip.Addr) int { return current } })
	steps := []struct {
		what    string
		do      func()
		link    int
		wantPod string
		wantErr error
	}{
		{"the first pod, on its link", func() { v.applyPod(pod("old", "1")) }, oldLink, "1", nil},
		{"its address by another link", func() {}, newLink, "", ErrOtherLink},
		{"a connection without a link", func() {}, 0, "", ErrOtherLink},
		{"the next pod is there, the API server still tells of the first", func() { current = newLink; v.LinkUp(newLink, "02:00:00:00:00:08", start.Add(time.Minute)) }, newLink, "", ErrOtherLink},
		{"a late word of the first pod", func() { v.applyPod(pod("old", "1", func(p *corev1.Pod) { p.Labels["x"] = "y" })) }, newLink, "", ErrOtherLink},
		{"word of the next pod, while the first is still there", func() { v.applyPod(pod("new", "2", started(start.Add(2*time.Minute)))) }, newLink, "", ErrAmbiguous},
		{"the first pod is gone", func() { v.deletePod("1") }, newLink, "2", nil},
		{"the first pod's link is dead", func() {}, oldLink, "", ErrOtherLink},
	}
	for _, s := range steps {
		s.do()
		found, _, err := v.ByIP(addr, s.link)
		if found.Pod.UID != s.wantPod || !errors.Is(err, s.wantErr) {
			t.Errorf("%s: ByIP() = %q, %v; want %q, %v", s.what, found.Pod.UID, err, s.wantPod, s.wantErr)
		}
	}
}

func TestAnAddressWithoutALinkWaitsForTheNextWord(t *testing.T) {
	link := 0
	v := newTestView(func(c *Config) { c.LinkOf = func(netip.Addr) int { return link } })
	v.applyPod(pod("web", "1"))
	link = 7
	if _, _, err := v.ByIP(addr, 7); !errors.Is(err, ErrOtherLink) {
		t.Errorf("ByIP() = %v, want ErrOtherLink", err)
	}
	v.applyPod(pod("web", "1", func(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.Now()) }))
	if _, _, err := v.ByIP(addr, 7); !errors.Is(err, ErrOtherLink) {
		t.Errorf("a pod on its way out: ByIP() = %v, want ErrOtherLink", err)
	}
	v.applyPod(pod("web", "1"))
	if _, _, err := v.ByIP(addr, 7); err != nil {
		t.Error(err)
	}
}
