package chart_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/podid-io/podid/test/programs"
)

// TestProgramsTakeTheirFlags starts mic and nmi as they are rendered, with every
// file of values, and an API server that is not there: they come as far as that
// when all flags are known, have values, and contradict nothing.
func TestProgramsTakeTheirFlags(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	if err := programs.Build(t.Context(), root, bin, "./cmd/mic", "./cmd/nmi"); err != nil {
		t.Fatal(err)
	}
	for name, values := range matrix(t) {
		t.Run(name, func(t *testing.T) {
			for _, o := range rendered(t, "--values", values) {
				if o.GetKind() != "Deployment" && o.GetKind() != "DaemonSet" {
					continue
				}
				program, args := container(t, o)
				cmd := exec.CommandContext(t.Context(), filepath.Join(bin, program), append(args, "--kubeconfig=/nowhere")...)
				cmd.Env = append(os.Environ(), "NODE_NAME=node", "POD_NAMESPACE=podid-system")
				out, err := cmd.CombinedOutput()
				if err == nil || !strings.Contains(string(out), "find the API server") {
					t.Errorf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
				}
				if strings.Contains(string(out), "deprecated") && !strings.HasPrefix(name, "incumbent") {
					t.Errorf("%s: an old flag for a new value\n%s", program, out)
				}
			}
		})
	}
}

// container is the first container's name and its arguments, as kubelet gives them.
func container(t *testing.T, o *unstructured.Unstructured) (name string, args []string) {
	t.Helper()
	containers, _, err := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
	if err != nil || len(containers) != 1 {
		t.Fatalf("containers of %s: %v", o.GetName(), err)
	}
	c, _ := containers[0].(map[string]any)
	args, _, err = unstructured.NestedStringSlice(c, "args")
	if err != nil {
		t.Fatal(err)
	}
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "$(HOST_IP)", "10.0.0.1")
	}
	name, _ = c["name"].(string)
	return name, args
}
