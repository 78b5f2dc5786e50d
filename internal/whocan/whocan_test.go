package whocan_test

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/whocan"
)

const client = "aaaaaaaa-0000-0000-0000-000000000000"

// cluster has two scale sets of two nodes, one of them with a label, and an identity
// with its binding.
func cluster(edit func(*v1.AzureIdentity, *v1.AzureIdentityBinding)) *whocan.Cluster {
	id := v1.AzureIdentity{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "blue"}, Spec: v1.AzureIdentitySpec{ClientID: client}}
	b := v1.AzureIdentityBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "blue"}, Spec: v1.AzureIdentityBindingSpec{AzureIdentity: "blue", Selector: "web"}}
	edit(&id, &b)
	c := &whocan.Cluster{Identities: []v1.AzureIdentity{id}, Bindings: []v1.AzureIdentityBinding{b}}
	for _, set := range []string{"red", "green"} {
		for i := range 2 {
			n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", set, i)}}
			n.Spec.ProviderID = fmt.Sprintf("azure:///subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/%s/virtualMachines/%d", set, i)
			if i == 0 {
				n.Labels = map[string]string{"pool": set}
			}
			c.Nodes = append(c.Nodes, n)
			p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "sys", Name: "host-" + n.Name}}
			p.Spec.NodeName, p.Spec.HostPID = n.Name, true
			c.Pods = append(c.Pods, p)
		}
	}
	return c
}

func TestMachines(t *testing.T) {
	tests := map[string]struct {
		edit     func(*v1.AzureIdentity, *v1.AzureIdentityBinding)
		machines int
	}{
		"without a pod": {func(*v1.AzureIdentity, *v1.AzureIdentityBinding) {}, 0},
		"put on a node before any pod, and so on its scale set": {func(_ *v1.AzureIdentity, b *v1.AzureIdentityBinding) {
			b.Annotations = map[string]string{v1.AnnotationPreAssign: "pool=red"}
		}, 2},
		"put on all": {func(_ *v1.AzureIdentity, b *v1.AzureIdentityBinding) {
			b.Annotations = map[string]string{v1.AnnotationPreAssign: "*"}
		}, 4},
		"of a binding that cannot be read": {func(_ *v1.AzureIdentity, b *v1.AzureIdentityBinding) {
			b.Annotations = map[string]string{v1.AnnotationPreAssign: "=="}
		}, 0},
		"an application is on none": {func(id *v1.AzureIdentity, b *v1.AzureIdentityBinding) {
			id.Spec.Type = new(v1.ServicePrincipal)
			b.Annotations = map[string]string{v1.AnnotationPreAssign: "*"}
		}, 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := cluster(tc.edit)
			target, err := whocan.Resolve(c, "team", "blue")
			if err != nil {
				t.Fatal(err)
			}
			r := whocan.Find(c, target, time.Now())
			if r.Machines != tc.machines || r.MachinePods != tc.machines || len(r.Takers) != tc.machines {
				t.Errorf("%d pods, %d that can take it, on %d nodes; want one on each of %d", r.MachinePods, len(r.Takers), r.Machines, tc.machines)
			}
		})
	}
}

// TestOneIdentityByManyNames has three AzureIdentities that are the same by one id or
// the other, and one that is not.
func TestOneIdentityByManyNames(t *testing.T) {
	const resource = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"
	c := &whocan.Cluster{}
	for name, spec := range map[string]v1.AzureIdentitySpec{
		"client":   {ClientID: client},
		"both":     {OldClientID: client, ResourceID: resource},
		"resource": {OldResourceID: resource},
		"other":    {ClientID: "bbbbbbbb-0000-0000-0000-000000000000"},
	} {
		c.Identities = append(c.Identities, v1.AzureIdentity{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name}, Spec: spec})
	}
	for _, by := range []string{"client", "both", "team/resource", client, resource} {
		target, err := whocan.Resolve(c, "team", by)
		if err != nil || len(target.Identities) != 3 {
			t.Errorf("%s: %d identities, %v; want the three that are the same", by, len(target.Identities), err)
		}
	}
}

// TestWhatLetsAPodPastNmi has one pod on a machine of the identity.
func TestWhatLetsAPodPastNmi(t *testing.T) {
	onPath := func(path string) corev1.PodSpec {
		return corev1.PodSpec{Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path}}}}}
	}
	with := func(c ...corev1.Capability) []corev1.Container {
		return []corev1.Container{{}, {SecurityContext: &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: c}}}}
	}
	tests := map[string]struct {
		spec corev1.PodSpec
		why  string // empty: nothing does
	}{
		"nothing":                            {corev1.PodSpec{}, ""},
		"the node's network":                 {corev1.PodSpec{HostNetwork: true}, "hostNetwork"},
		"the node's processes":               {corev1.PodSpec{HostPID: true}, "hostPID"},
		"privileged, a container":            {corev1.PodSpec{Containers: []corev1.Container{{SecurityContext: &corev1.SecurityContext{Privileged: new(true)}}}}, "privileged"},
		"a strong capability":                {corev1.PodSpec{Containers: with("NET_BIND_SERVICE", "SYS_ADMIN")}, "SYS_ADMIN"},
		"one of an init container":           {corev1.PodSpec{InitContainers: with("SYS_MODULE")}, "SYS_MODULE"},
		"one in another spelling":            {corev1.PodSpec{Containers: with("cap_sys_ptrace")}, "SYS_PTRACE"},
		"all of them":                        {corev1.PodSpec{Containers: with("ALL")}, "ALL"},
		"capabilities of a pod's own":        {corev1.PodSpec{Containers: with("NET_ADMIN", "NET_RAW")}, ""},
		"the root of the node":               {onPath("/"), "hostPath"},
		"a socket of the runtime":            {onPath("/run/containerd/containerd.sock"), "hostPath"},
		"its folder, by the other name":      {onPath("/var/run/containerd/"), "hostPath"},
		"what has it all in it":              {onPath("/var/run"), "hostPath"},
		"what has the link in it":            {onPath("/var"), "hostPath"},
		"a socket by a way around":           {onPath("/tmp/../run/docker.sock"), "hostPath"},
		"a folder of something else":         {onPath("/run/podid"), ""},
		"one whose name begins like another": {onPath("/run/contain"), ""},
		"logs":                               {onPath("/var/log"), ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := cluster(func(_ *v1.AzureIdentity, b *v1.AzureIdentityBinding) {
				b.Annotations = map[string]string{v1.AnnotationPreAssign: "*"}
			})
			tc.spec.NodeName = "red-0"
			c.Pods = []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "app"}, Spec: tc.spec}}
			target, err := whocan.Resolve(c, "team", "blue")
			if err != nil {
				t.Fatal(err)
			}
			why := ""
			for _, taker := range whocan.Find(c, target, time.Now()).Takers {
				why += taker.Why
			}
			if why != tc.why {
				t.Errorf("past nmi by %q, want %q", why, tc.why)
			}
		})
	}
}

// TestWhatIsSaidOfAPod has a pod bound to the identity, and no AzureAssignedIdentity.
func TestWhatIsSaidOfAPod(t *testing.T) {
	tests := map[string]struct {
		kind             v1.IdentityType
		managed          bool
		assigned, served bool
		notes            int
	}{
		"on its way":                      {served: true},
		"in managed mode nobody says":     {managed: true, assigned: true, served: true, notes: 1},
		"an application":                  {kind: v1.ServicePrincipal, assigned: true, served: true},
		"an application, in managed mode": {kind: v1.ServicePrincipal, managed: true, assigned: true, served: true},
		"a type that nobody serves":       {kind: 9, assigned: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c := cluster(func(id *v1.AzureIdentity, _ *v1.AzureIdentityBinding) { id.Spec.Type = &tc.kind })
			c.Managed = tc.managed
			c.Pods = []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "app", Labels: map[string]string{v1.LabelBinding: "web"}}}}
			target, err := whocan.Resolve(c, "team", "blue")
			if err != nil {
				t.Fatal(err)
			}
			r := whocan.Find(c, target, time.Now())
			if len(r.Pods) != 1 || r.Pods[0].Assigned != tc.assigned || r.Pods[0].Served != tc.served || len(r.Notes) != tc.notes {
				t.Errorf("%+v and %q, want assigned %t, served %t and %d notes", r.Pods, r.Notes, tc.assigned, tc.served, tc.notes)
			}
		})
	}
}
