package cluster

import (
	"context"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// completion is how long a shell waits for words: of each request, since what the API
// server serves is asked for without a context.
const completion = 3 * time.Second

// Names offers the names of objects to a shell, each with a prefix: those of the
// namespace that the flags say, of a kind that has namespaces, or of the cluster.
// There are none where they cannot be read.
func (f *Flags) Names(ctx context.Context, list client.ObjectList, prefix string) []string {
	ctx, cancel := context.WithTimeout(ctx, completion)
	defer cancel()
	c, err := f.open(nil, completion)
	if err != nil {
		return nil
	}
	if err := c.List(ctx, list, client.InNamespace(c.Namespace), client.Limit(page)); err != nil {
		return nil
	}
	var names []string
	_ = meta.EachListItem(list, func(o runtime.Object) error { // what has no name is not offered
		if m, err := meta.Accessor(o); err == nil {
			names = append(names, prefix+m.GetName())
		}
		return nil
	})
	return names
}

// Contexts offers those of the kubeconfig to a shell.
func (f *Flags) Contexts() []string {
	raw, err := f.kube.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return nil
	}
	return slices.Sorted(maps.Keys(raw.Contexts))
}
