package chart_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

const (
	root  = "../.."
	chart = root + "/charts/podid"
)

// helmPath compiles helm, which Go's cache then has, and says where it is.
func helmPath(t *testing.T) string {
	t.Helper()
	path, err := helmOnce()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var helmOnce = sync.OnceValues(func() (string, error) {
	cmd := exec.CommandContext(context.Background(), "go", "tool", "-modfile=go.tools.mod", "-n", "helm")
	cmd.Dir = root
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("compile helm: %w\n%s", err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
})

// helm runs helm with a home of its own.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return helmAt(t, t.TempDir(), args...)
}

// helmAt runs helm with a home, where it keeps what it knows of an API server.
func helmAt(t *testing.T, home string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), helmPath(t), args...)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "HOME="+home)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, stderr.String())
	}
	return string(out), nil
}

// render renders the chart as release podid in podid-system.
func render(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return helm(t, append([]string{"template", "podid", chart, "--namespace", "podid-system"}, args...)...)
}

// objects are those of a manifest. Unknown and double fields are the API
// server's to find.
func objects(t *testing.T, manifest string) []*unstructured.Unstructured {
	t.Helper()
	var list []*unstructured.Unstructured
	decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(manifest), 4096)
	for {
		o := &unstructured.Unstructured{}
		err := decoder.Decode(&o.Object)
		switch {
		case errors.Is(err, io.EOF):
			return list
		case err != nil:
			t.Fatalf("%v in\n%s", err, manifest)
		case len(o.Object) > 0:
			list = append(list, o)
		}
	}
}

// rendered are the objects of the chart with values.
func rendered(t *testing.T, args ...string) []*unstructured.Unstructured {
	t.Helper()
	manifest, err := render(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return objects(t, manifest)
}

// find is the object of a kind and a name.
func find(t *testing.T, list []*unstructured.Unstructured, kind, name string) *unstructured.Unstructured {
	t.Helper()
	for _, o := range list {
		if o.GetKind() == kind && o.GetName() == name {
			return o
		}
	}
	t.Fatalf("no %s %s among %d objects", kind, name, len(list))
	return nil
}
