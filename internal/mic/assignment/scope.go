package assignment

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
)

// scopeOfNode is the scope of a node: zero for one that has no providerID of
// Azure. A Node that is gone, or that does not say yet, has the scope that it had:
// its pods may well run on, and their identities are not taken from under them.
func scopeOfNode(ctx context.Context, cache client.Reader, name string) (assign.Scope, error) {
	if name == "" {
		return assign.Scope{}, nil
	}
	var n corev1.Node
	if err := cache.Get(ctx, types.NamespacedName{Name: name}, &n); client.IgnoreNotFound(err) != nil {
		return assign.Scope{}, err
	}
	if n.Spec.ProviderID != "" {
		return scopeOf(&n), nil
	}
	return scopeBefore(ctx, cache, name)
}

// scopeBefore is the scope that a node had, as the objects for its pods say.
func scopeBefore(ctx context.Context, cache client.Reader, name string) (assign.Scope, error) {
	var list v1.AzureAssignedIdentityList
	if err := cache.List(ctx, &list, client.MatchingFields{assignedByNode: name}); err != nil {
		return assign.Scope{}, err
	}
	var first assign.Scope // of several, which is when a name was used again: always the same
	for i := range list.Items {
		if scope, ok := assign.ScopeOf(&list.Items[i]); ok && (first == (assign.Scope{}) || scope.ID() < first.ID()) {
			first = scope
		}
	}
	return first, nil
}

func scopeOf(n *corev1.Node) assign.Scope {
	scope, err := assign.ParseProviderID(n.Spec.ProviderID)
	if err != nil {
		return assign.Scope{}
	}
	return scope
}
