package assignment

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
)

// store is a cache and, as far as the controller writes, an API server that the
// cache follows at once. It has the indexes of the real one, over the same kind
// of map.
type store struct {
	mu      sync.Mutex // guards version and writes
	version int
	writes  int
	kinds   sync.Mutex // guards byKind
	byKind  map[reflect.Type]toolscache.Indexer
	// changed is told of each change, where one of the two is nil; may be nil.
	changed func(old, now client.Object)
}

func newStore() *store { return &store{byKind: make(map[reflect.Type]toolscache.Indexer)} }

func (s *store) kind(o any) toolscache.Indexer {
	s.kinds.Lock()
	defer s.kinds.Unlock()
	t := reflect.TypeOf(o).Elem()
	if s.byKind[t] == nil {
		s.byKind[t] = toolscache.NewIndexer(toolscache.MetaNamespaceKeyFunc, toolscache.Indexers{})
	}
	return s.byKind[t]
}

// IndexField is like that of the real cache.
func (s *store) IndexField(_ context.Context, o client.Object, field string, keys client.IndexerFunc) error {
	return s.kind(o).AddIndexers(toolscache.Indexers{field: func(o any) ([]string, error) {
		c, ok := o.(client.Object)
		if !ok {
			return nil, fmt.Errorf("%T is no object", o)
		}
		return keys(c), nil
	}})
}

func (s *store) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	name := key.Name
	if key.Namespace != "" {
		name = key.Namespace + "/" + key.Name
	}
	o, ok, err := s.kind(into).GetByKey(name)
	if err != nil {
		return err
	}
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{}, name)
	}
	reflect.ValueOf(into).Elem().Set(reflect.ValueOf(o).Elem())
	return nil
}

func (s *store) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	var o client.ListOptions
	o.ApplyOptions(options)
	items, err := meta.GetItemsPtr(list)
	if err != nil {
		return err
	}
	of := s.kind(reflect.New(reflect.TypeOf(items).Elem().Elem()).Interface())
	var found []any
	if o.FieldSelector == nil {
		found = of.List()
	} else {
		r := o.FieldSelector.Requirements()[0]
		if found, err = of.ByIndex(r.Field, r.Value); err != nil {
			return err
		}
	}
	objects := make([]runtime.Object, 0, len(found))
	for _, f := range found {
		if r, ok := f.(runtime.Object); ok {
			objects = append(objects, r)
		}
	}
	return meta.SetList(list, objects)
}

// put has an object in the cache, under a new version.
func (s *store) put(o client.Object) {
	old := s.current(o)
	defer func() { s.tell(old, o) }()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	s.writes++
	o.SetResourceVersion(strconv.Itoa(s.version))
	if o.GetUID() == "" {
		o.SetUID(types.UID(strconv.Itoa(s.version)))
	}
	if err := s.kind(o).Update(o.DeepCopyObject()); err != nil {
		panic(err) // a key can always be made
	}
}

// current is the object of the same name; nil for none.
func (s *store) current(o client.Object) client.Object {
	was, ok, err := s.kind(o).Get(o)
	if old, is := was.(client.Object); ok && is && err == nil {
		return old
	}
	return nil
}

func (s *store) tell(old, now client.Object) {
	if s.changed == nil {
		return
	}
	if now != nil {
		now, _ = now.DeepCopyObject().(client.Object)
	}
	s.changed(old, now)
}

func (s *store) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	s.put(o)
	return nil
}

func (s *store) Update(_ context.Context, o client.Object, _ ...client.UpdateOption) error {
	s.put(o)
	return nil
}

// Patch knows the patch that marks an object only.
func (s *store) Patch(_ context.Context, o client.Object, _ client.Patch, _ ...client.PatchOption) error {
	s.put(o)
	return nil
}

func (s *store) Delete(_ context.Context, o client.Object, _ ...client.DeleteOption) error {
	s.mu.Lock()
	s.writes++
	s.mu.Unlock()
	old := s.current(o)
	if err := s.kind(o).Delete(o); err != nil || old == nil {
		return err
	}
	s.tell(old, nil)
	return nil
}

func (s *store) DeleteAllOf(context.Context, client.Object, ...client.DeleteAllOfOption) error {
	return apierrors.NewMethodNotSupported(schema.GroupResource{}, "deletecollection")
}

// Apply is never called.
func (s *store) Apply(context.Context, runtime.ApplyConfiguration, ...client.ApplyOption) error {
	return apierrors.NewMethodNotSupported(schema.GroupResource{}, "apply")
}

// objects are the names and states of all assigned identities.
func (s *store) objects() map[string]v1.AssignedState {
	all := make(map[string]v1.AssignedState)
	for _, o := range s.kind(&v1.AzureAssignedIdentity{}).List() {
		if a, ok := o.(*v1.AzureAssignedIdentity); ok {
			all[a.Namespace+"/"+a.Name] = a.Status.Status
		}
	}
	return all
}
