package churn_test

import (
	"cmp"
	"maps"
	"slices"

	"github.com/podid-io/podid/test/churn/model"
)

// lookUp finds an object; nil for none.
func lookUp(o *model.Objects, k kind, key model.Key) any {
	switch k {
	case pods:
		return find(o.Pods, key)
	case identities:
		return find(o.Identities, key)
	case bindings:
		return find(o.Bindings, key)
	case assigned:
		return find(o.Assigned, key)
	case exceptions:
		return find(o.Exceptions, key)
	default:
		return find(o.Namespaces, key)
	}
}

func find[T any](m map[model.Key]T, key model.Key) any {
	if o, ok := m[key]; ok {
		return o
	}
	return nil
}

// store puts an object, or with nil takes it away.
func store(o *model.Objects, k kind, key model.Key, object any) {
	switch k {
	case pods:
		set(o.Pods, key, object)
	case identities:
		set(o.Identities, key, object)
	case bindings:
		set(o.Bindings, key, object)
	case assigned:
		set(o.Assigned, key, object)
	case exceptions:
		set(o.Exceptions, key, object)
	default:
		set(o.Namespaces, key, object)
	}
}

func set[T any](m map[model.Key]T, key model.Key, object any) {
	if object == nil {
		delete(m, key)
		return
	}
	if o, ok := object.(T); ok {
		m[key] = o
	}
}

// all lists the objects of a kind in a fixed order.
func all(o *model.Objects, k kind) []any {
	switch k {
	case pods:
		return values(o.Pods)
	case identities:
		return values(o.Identities)
	case bindings:
		return values(o.Bindings)
	case assigned:
		return values(o.Assigned)
	case exceptions:
		return values(o.Exceptions)
	default:
		return values(o.Namespaces)
	}
}

func values[T any](m map[model.Key]T) []any {
	list := make([]any, 0, len(m))
	for _, k := range sortedKeys(m) {
		list = append(list, m[k])
	}
	return list
}

// sortedKeys are the keys of m in a fixed order, so that a seed tells the same
// story again.
func sortedKeys[T any](m map[model.Key]T) []model.Key {
	return slices.SortedFunc(maps.Keys(m), func(a, b model.Key) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}
