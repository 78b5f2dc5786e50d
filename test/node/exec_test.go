package node_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
)

// exec runs a command in the first container of a pod, as kubectl exec does, and
// returns all that it wrote.
func (w *world) exec(t *testing.T, namespace, pod string, command ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	set, err := kubernetes.NewForConfig(w.full.REST())
	if err != nil {
		t.Fatal(err)
	}
	url := set.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: command, Stdout: true, Stderr: true}, clientscheme.ParameterCodec).URL()
	e, err := remotecommand.NewWebSocketExecutor(w.full.REST(), "GET", url.String())
	if err != nil {
		t.Fatal(err)
	}
	var out, complaint bytes.Buffer // each has a goroutine that writes to it
	err = e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &complaint})
	said := out.String() + complaint.String()
	if err != nil {
		err = fmt.Errorf("%v in %s/%s: %w: %s", command, namespace, pod, err, said)
	}
	return said, err
}
