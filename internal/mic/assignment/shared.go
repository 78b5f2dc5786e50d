package assignment

import (
	"runtime"
	"sync"
	"unique"
	"weak"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	v1 "github.com/podid-io/podid/api/v1"
)

// copies strips AzureAssignedIdentities for the cache. Each has copies of the
// AzureIdentity and the binding that it comes from, which are most of it: equal
// ones are held once.
type copies struct {
	identities *shared[v1.AzureIdentityRef]
	bindings   *shared[v1.AzureBindingRef]
}

func (c *copies) strip(o any) (any, error) {
	a, ok := o.(*v1.AzureAssignedIdentity)
	if !ok {
		return o, nil
	}
	a.ManagedFields = nil
	for _, s := range []*string{&a.Namespace, &a.Spec.PodNamespace, &a.Spec.NodeName} {
		*s = unique.Make(*s).Value()
	}
	for _, m := range []map[string]string{a.Labels, a.Annotations} {
		for k, v := range m {
			m[k] = unique.Make(v).Value()
		}
	}
	if i := a.Spec.AzureIdentityRef; i != nil {
		a.Spec.AzureIdentityRef = c.identities.of(types.NamespacedName{Namespace: i.Namespace, Name: i.Name}, i)
	}
	if b := a.Spec.AzureBindingRef; b != nil {
		a.Spec.AzureBindingRef = c.bindings.of(types.NamespacedName{Namespace: b.Namespace, Name: b.Name}, b)
	}
	return a, nil
}

// shared knows the last of equal values by a name, as long as somebody holds it.
type shared[T any] struct {
	mu sync.Mutex // guards by
	by map[types.NamespacedName]weak.Pointer[T]
}

func newShared[T any]() *shared[T] {
	return &shared[T]{by: make(map[types.NamespacedName]weak.Pointer[T])}
}

// of is a value equal to t, which is not changed from then on.
func (s *shared[T]) of(name types.NamespacedName, t *T) *T {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.by[name].Value(); known != nil && equality.Semantic.DeepEqual(known, t) {
		return known
	}
	s.by[name] = weak.Make(t)
	runtime.AddCleanup(t, s.forget, name)
	return t
}

// forget lets go of a name whose value nobody holds any more.
func (s *shared[T]) forget(name types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by[name].Value() == nil {
		delete(s.by, name)
	}
}
