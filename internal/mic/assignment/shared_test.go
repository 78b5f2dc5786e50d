package assignment

import (
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/podid-io/podid/api/v1"
)

// copied is an object of a pod as the API server sends it, with copies of its own.
func copied(pod, identity, id string) *v1.AzureAssignedIdentity {
	of := metav1.ObjectMeta{Namespace: "apps", Name: identity}
	return &v1.AzureAssignedIdentity{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "apps", Name: pod, Labels: map[string]string{"a": "b"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "mic"}},
		},
		Spec: v1.AzureAssignedIdentitySpec{
			Pod: pod, PodNamespace: "apps", NodeName: "node-0",
			AzureIdentityRef: &v1.AzureIdentityRef{ObjectMeta: of, Spec: v1.AzureIdentitySpec{ResourceID: id}},
			AzureBindingRef:  &v1.AzureBindingRef{ObjectMeta: of},
		},
	}
}

func stripped(t *testing.T, c *copies, o *v1.AzureAssignedIdentity) *v1.AzureAssignedIdentity {
	t.Helper()
	got, err := c.strip(o)
	if err != nil {
		t.Fatal(err)
	}
	a, ok := got.(*v1.AzureAssignedIdentity)
	if !ok {
		t.Fatalf("it became a %T", got)
	}
	return a
}

func TestEqualCopiesAreHeldOnce(t *testing.T) {
	c := newCopies()
	one, two := stripped(t, c, copied("one", "id", "/a")), stripped(t, c, copied("two", "id", "/a"))
	if one.Spec.AzureIdentityRef != two.Spec.AzureIdentityRef || one.Spec.AzureBindingRef != two.Spec.AzureBindingRef {
		t.Error("equal copies are held twice")
	}
	edited, other := stripped(t, c, copied("three", "id", "/b")), stripped(t, c, copied("four", "other", "/a"))
	for name, got := range map[string]*v1.AzureAssignedIdentity{"/a": one, "/b": edited} {
		if got.Spec.AzureIdentityRef.Spec.ResourceID != name {
			t.Errorf("a copy of %s became one of %s", name, got.Spec.AzureIdentityRef.Spec.ResourceID)
		}
	}
	if other.Spec.AzureIdentityRef.Name != "other" {
		t.Errorf("a copy of another identity became one of %s", other.Spec.AzureIdentityRef.Name)
	}
	want := copied("two", "id", "/a")
	want.ManagedFields = nil
	if diff := cmp.Diff(want, two); diff != "" {
		t.Errorf("more changed than who manages the fields (-want +got):\n%s", diff)
	}
	runtime.KeepAlive(one)
}

// TestCopiesThatNobodyHoldsAreForgotten waits for the garbage collector.
func TestCopiesThatNobodyHoldsAreForgotten(t *testing.T) {
	c := newCopies()
	stripped(t, c, copied("one", "id", "/a"))
	left := func() int {
		c.identities.mu.Lock()
		defer c.identities.mu.Unlock()
		return len(c.identities.by)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 5000 {
		runtime.GC()
		if left() == 0 {
			return
		}
		<-tick.C
	}
	t.Errorf("%d names are left", left())
}

func TestMapsWithOneKeyAreHeldOnce(t *testing.T) {
	s := newSingles(2)
	same := func(x, y map[string]string) bool { return reflect.ValueOf(x).Pointer() == reflect.ValueOf(y).Pointer() }
	make1 := func(v string) map[string]string { return map[string]string{"k": v} }
	a := s.of(make1("a"))
	if !same(a, s.of(make1("a"))) {
		t.Error("equal maps are held twice")
	}
	if diff := cmp.Diff(make1("b"), s.of(make1("b"))); diff != "" {
		t.Errorf("another map (-want +got):\n%s", diff)
	}
	s.of(make1("c")) // one too many
	if !same(a, s.of(make1("a"))) {
		t.Error("what was asked for lately is forgotten")
	}
	for _, v := range []string{"d", "e", "f", "g"} {
		s.of(make1(v))
	}
	if n := len(s.now) + len(s.before); n > 4 {
		t.Errorf("%d maps are held, want 4 at most", n)
	}
	two := map[string]string{"k": "a", "l": "b"}
	if !same(two, s.of(two)) {
		t.Error("a map with two keys became another")
	}
}
