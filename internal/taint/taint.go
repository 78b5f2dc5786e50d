// Package taint takes the start-up taint off a node whose agent is ready. Until
// then the taint keeps pods away that would ask for tokens too early.
package taint

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// DefaultKey is the key that podid's documentation uses. The cluster autoscaler
// ignores taints of its own prefix only, startup-taint.cluster-autoscaler.kubernetes.io/.
const DefaultKey = "podid.io/agent-not-ready"

// Nodes reads and patches nodes; client-go's NodeInterface does.
type Nodes interface {
	Get(ctx context.Context, name string, opts metav1.GetOptions) (*corev1.Node, error)
	Patch(ctx context.Context, name string, pt types.PatchType, data []byte, opts metav1.PatchOptions, subresources ...string) (*corev1.Node, error)
}

// Has reports whether one of the taints has one of the keys.
func Has(taints []corev1.Taint, keys []string) bool {
	return slices.ContainsFunc(taints, func(t corev1.Taint) bool { return slices.Contains(keys, t.Key) })
}

// Remove takes the taints with these keys off a node, whatever their effect, and
// leaves the others. It reports whether there was one. A node that is gone is no
// error; one that changed meanwhile is a conflict (apierrors.IsInvalid): try
// again.
func Remove(ctx context.Context, nodes Nodes, name string, keys []string) (bool, error) {
	node, err := nodes.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the taints of node %s: %w", name, err)
	}
	if !Has(node.Spec.Taints, keys) {
		return false, nil
	}
	kept := slices.DeleteFunc(slices.Clone(node.Spec.Taints), func(t corev1.Taint) bool { return slices.Contains(keys, t.Key) })
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	patch, err := json.Marshal([]operation{
		{"test", "/metadata/resourceVersion", node.ResourceVersion}, // others change taints too
		{"replace", "/spec/taints", kept},
	})
	if err != nil {
		return false, err
	}
	_, err = nodes.Patch(ctx, name, types.JSONPatchType, patch, metav1.PatchOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("take the start-up taint off node %s: %w", name, err)
	}
	return true, nil
}
