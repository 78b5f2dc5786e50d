package cluster

import (
	"errors"
	"fmt"
	"strings"
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
