package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// PodName is the pod that an argument names: pod/NAME, or NAME alone.
func PodName(args []string) (string, error) {
	if len(args) != 1 {
		return "", errors.New("write the pod: pod/NAME")
	}
	kind, name, found := strings.Cut(args[0], "/")
	if !found {
		kind, name = "pod", args[0]
	}
	switch strings.ToLower(kind) {
	case "pod", "pods", "po":
	default:
		return "", fmt.Errorf("%q is no pod: write pod/NAME, and the namespace by -n", args[0])
	}
	if name == "" || strings.Contains(name, "/") {
		return "", fmt.Errorf("%q is no pod: write pod/NAME, and the namespace by -n", args[0])
	}
	return name, nil
}

// CompletePods offers the pods of the namespace to a shell, none where they cannot
// be read.
func (f *Flags) CompletePods(ctx context.Context) []string {
	c, err := f.Open(nil)
	if err != nil {
		return nil
	}
	var list corev1.PodList
	if err := c.List(ctx, &list, client.InNamespace(c.Namespace), client.Limit(page)); err != nil {
		return nil
	}
	names := make([]string, 0, len(list.Items))
	for i := range list.Items {
		names = append(names, "pod/"+list.Items[i].Name)
	}
	return names
}
