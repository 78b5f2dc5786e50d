package nodeview

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
)

// find is what the view tells of the pod with the address.
func find(t *testing.T, v *View) Found {
	t.Helper()
	f, _, err := v.ByIP(addr, 7)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestNamespaceAnnotation(t *testing.T) {
	v := newTestView()
	unlabelled := func(p *corev1.Pod) { p.Labels = nil }
	empty := func(p *corev1.Pod) { p.Labels = map[string]string{v1.LabelBinding: ""} }
	v.setIdentity(identity.Identity{Namespace: "team", Name: "blue"})
	v.setIdentity(identity.Identity{Namespace: "team", Name: "red"})
	v.setIdentity(identity.Identity{Namespace: "other", Name: "green"})
	v.setBinding(identity.Binding{Namespace: "team", Name: "all", Identity: "blue"})
	v.setBinding(identity.Binding{Namespace: "team", Name: "web", Identity: "red", Selector: "web"})
	v.setBinding(identity.Binding{Namespace: "other", Name: "theirs", Identity: "green"})
	steps := []struct {
		what string
		do   func()
		want []string
	}{
		{"neither label nor annotation", func() { v.applyPod(pod("web", "1", unlabelled)) }, nil},
		{"the annotation comes", func() { v.setNamespace("team", "all") }, []string{"blue"}},
		{"another namespace's annotation", func() { v.setNamespace("other", "theirs") }, []string{"blue"}},
		{"a binding of another namespace is named", func() { v.setNamespace("team", "theirs") }, nil},
		{"a binding that has a selector is named", func() { v.setNamespace("team", "web") }, []string{"red"}},
		{"a binding that is not there is named", func() { v.setNamespace("team", "none") }, nil},
		{"and comes", func() {
			v.setBinding(identity.Binding{Namespace: "team", Name: "none", Identity: "blue", Selector: "x"})
		}, []string{"blue"}},
		{"the pod gets a label", func() { v.applyPod(pod("web", "1")) }, []string{"red"}},
		{"a label that matches nothing", func() { v.applyPod(pod("web", "1", func(p *corev1.Pod) { p.Labels[v1.LabelBinding] = "db" })) }, nil},
		{"an empty label, which is one of its own", func() { v.applyPod(pod("web", "1", empty)) }, nil},
		{"the label goes", func() { v.applyPod(pod("web", "1", unlabelled)) }, []string{"blue"}},
		{"the annotation goes", func() { v.setNamespace("team", "") }, nil},
	}
	for _, s := range steps {
		s.do()
		var got []string
		for _, g := range find(t, v).Grants {
			got = append(got, g.Identity.Name)
		}
		if diff := cmp.Diff(s.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.what, diff)
		}
	}
}

func TestExceptions(t *testing.T) {
	v := newTestView(func(c *Config) { c.Rules.ExceptionNamespaces = []string{"team"} })
	v.applyPod(pod("web", "1", func(p *corev1.Pod) { p.Labels["app"] = "web" }))
	except := func(namespace, name, value string) identity.Exception {
		return identity.Exception{Namespace: namespace, Name: name, PodLabels: map[string]string{"app": value}}
	}
	steps := []struct {
		what string
		do   func()
		want string
	}{
		{"none", func() {}, ""},
		{"one of another namespace", func() { v.setException(except("other", "e", "web")) }, ""},
		{"one for other pods", func() { v.setException(except("team", "e", "db")) }, ""},
		{"it changes", func() { v.setException(except("team", "e", "WEB")) }, "e"},
		{"another comes", func() { v.setException(except("team", "a", "web")) }, "a"},
		{"and goes", func() { v.deleteException(name{"team", "a"}) }, "e"},
		{"the pod loses the label", func() { v.applyPod(pod("web", "1")) }, ""},
		{"and has it again", func() { v.applyPod(pod("web", "1", func(p *corev1.Pod) { p.Labels["app"] = "web" })) }, "e"},
		{"the exception goes", func() { v.deleteException(name{"team", "e"}) }, ""},
	}
	for _, s := range steps {
		s.do()
		got := ""
		if e := find(t, v).Exception; e != nil {
			got = e.Name
		}
		if got != s.want {
			t.Errorf("%s: excepted by %q, want %q", s.what, got, s.want)
		}
	}
}

func TestAnExceptionWhereNoneCounts(t *testing.T) {
	v := newTestView(func(c *Config) { c.Rules.ExceptionNamespaces = []string{"kube-system"} })
	v.applyPod(pod("web", "1"))
	v.setException(identity.Exception{Namespace: "team", Name: "e", PodLabels: map[string]string{v1.LabelBinding: "web"}})
	if e := find(t, v).Exception; e != nil {
		t.Errorf("excepted by %+v", e)
	}
}

func TestReadyWithoutAssignment(t *testing.T) {
	tests := map[string]struct {
		managed bool
		kind    v1.IdentityType
		want    bool
	}{
		"a managed identity":                       {false, v1.UserAssignedMSI, false},
		"a managed identity in managed mode":       {true, v1.UserAssignedMSI, true},
		"an application with a secret":             {false, v1.ServicePrincipal, true},
		"an application with a certificate":        {false, v1.ServicePrincipalCertificate, true},
		"an application in managed mode":           {true, v1.ServicePrincipal, true},
		"an application with a certificate, there": {true, v1.ServicePrincipalCertificate, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			v := newTestView(func(c *Config) { c.Managed = tc.managed })
			v.applyPod(pod("web", "1"))
			v.setIdentity(identity.Identity{Namespace: "team", Name: "blue", Type: tc.kind})
			v.setBinding(identity.Binding{Namespace: "team", Name: "b", Identity: "blue", Selector: "web"})
			if got := find(t, v).Grants[0].Ready; got != tc.want {
				t.Errorf("Ready = %t, want %t", got, tc.want)
			}
		})
	}
}

func TestByName(t *testing.T) {
	mounts := func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: SecretsStoreDriver}}}}
	}
	bare := func(p *corev1.Pod) { p.Status = corev1.PodStatus{Phase: corev1.PodPending} }
	host := func(p *corev1.Pod) { p.Spec.HostNetwork = true }
	tests := map[string]struct {
		events     func(*View)
		wantPod    string
		wantMounts bool
		wantErr    error
	}{
		"nobody":                             {func(*View) {}, "", false, ErrUnknown},
		"a running pod":                      {func(v *View) { v.applyPod(pod("web", "1")) }, "1", false, nil},
		"one that mounts from the store":     {func(v *View) { v.applyPod(pod("web", "1", mounts)) }, "1", true, nil},
		"one that has no address yet":        {func(v *View) { v.applyPod(pod("web", "1", bare, mounts)) }, "1", true, nil},
		"one in the node's own network":      {func(v *View) { v.applyPod(pod("web", "1", host)) }, "1", false, nil},
		"one that has ended":                 {func(v *View) { v.applyPod(pod("web", "1", phase(corev1.PodSucceeded))) }, "", false, ErrUnknown},
		"one that ran and has ended":         {func(v *View) { v.applyPod(pod("web", "1")); v.applyPod(pod("web", "1", phase(corev1.PodFailed))) }, "", false, ErrUnknown},
		"one of another name":                {func(v *View) { v.applyPod(pod("db", "1")) }, "", false, ErrUnknown},
		"one of another namespace":           {func(v *View) { v.applyPod(pod("web", "1", func(p *corev1.Pod) { p.Namespace = "other" })) }, "", false, ErrUnknown},
		"a deleted pod":                      {func(v *View) { v.applyPod(pod("web", "1")); v.deletePod("1") }, "", false, ErrUnknown},
		"a pod and its successor":            {func(v *View) { v.applyPod(pod("web", "1")); v.applyPod(pod("web", "2")) }, "2", false, nil},
		"the same, when the first goes late": {func(v *View) { v.applyPod(pod("web", "1")); v.applyPod(pod("web", "2")); v.deletePod("1") }, "2", false, nil},
		"an incomplete view":                 {func(v *View) { v.synced = false; v.applyPod(pod("web", "1")) }, "", false, ErrNotSynced},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			v := newTestView()
			tc.events(v)
			f, changed, err := v.ByName("team", "web")
			if f.Pod.UID != tc.wantPod || f.SecretsStore != tc.wantMounts || !errors.Is(err, tc.wantErr) || changed == nil {
				t.Errorf("ByName() = %+v, %v", f, err)
			}
		})
	}
}

func TestAll(t *testing.T) {
	v := newTestView()
	v.applyPod(pod("web", "1"))
	v.applyPod(pod("young", "2", func(p *corev1.Pod) { p.Status = corev1.PodStatus{Phase: corev1.PodPending} }))
	v.applyPod(pod("agent", "3", func(p *corev1.Pod) { p.Spec.HostNetwork = true }))
	v.applyPod(pod("over", "4", phase(corev1.PodSucceeded)))
	all, changed := v.All()
	var got []string
	for _, f := range all {
		got = append(got, f.Pod.UID)
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"1", "2", "3"}, got); diff != "" {
		t.Errorf("All() (-want +got):\n%s", diff)
	}
	v.deletePod("1")
	select {
	case <-changed:
	default:
		t.Error("a change woke nobody")
	}
}

func TestPrefetch(t *testing.T) {
	long := strings.Repeat("x", MaxPrefetchLength+1)
	tests := map[string]struct {
		text string
		want []string
	}{
		"nothing":         {"", nil},
		"one":             {"https://vault.azure.net", []string{"https://vault.azure.net"}},
		"commas":          {"a,b, c,", []string{"a", "b", "c"}},
		"white space":     {"a\n\tb  c", []string{"a", "b", "c"}},
		"the same twice":  {"a,b,a", []string{"a", "b"}},
		"too many":        {"1 2 3 4 5 6 7 8 9", []string{"1", "2", "3", "4", "5", "6", "7", "8"}},
		"one too long":    {"a," + long + ",b", []string{"a", "b"}},
		"one just so":     {long[1:], []string{long[1:]}},
		"commas and none": {" , ,, ", nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, prefetch(tc.text)); diff != "" {
				t.Errorf("prefetch() (-want +got):\n%s", diff)
			}
		})
	}
}

func TestByIPAllocatesNothing(t *testing.T) {
	v := newTestView()
	v.applyPod(pod("web", "1"))
	find(t, v)
	if n := testing.AllocsPerRun(100, func() { _, _, _ = v.ByIP(addr, 7) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
