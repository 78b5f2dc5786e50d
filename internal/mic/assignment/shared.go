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
	metadata   *singles
}

func newCopies() *copies {
	return &copies{newShared[v1.AzureIdentityRef](), newShared[v1.AzureBindingRef](), newSingles(10_000)}
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
	a.Labels, a.Annotations = c.metadata.of(a.Labels), c.metadata.of(a.Annotations)
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

// singles knows maps with one key, as labels and annotations are that say which
// node or machine an object is of, and which selector a pod asks for. It forgets
// those that nobody has asked for for long.
type singles struct {
	most int

	mu          sync.Mutex // guards the rest
	now, before map[[2]string]map[string]string
}

func newSingles(most int) *singles {
	return &singles{most: most, now: make(map[[2]string]map[string]string)}
}

// of is a map equal to m, which is not changed from then on.
func (s *singles) of(m map[string]string) map[string]string {
	if len(m) != 1 {
		return m
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, v := range m {
		key := [2]string{k, v}
		if known, ok := s.now[key]; ok {
			return known
		}
		if known, ok := s.before[key]; ok {
			m = known
		}
		if len(s.now) >= s.most {
			s.before, s.now = s.now, make(map[[2]string]map[string]string)
		}
		s.now[key] = m
	}
	return m
}
