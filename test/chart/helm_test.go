package chart_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

// Paths of programs that Go's cache has.
var (
	helmPath       = tool(root, "-modfile=go.tools.mod", "helm")
	prometheusPath = tool(root+"/test/prometheus", "prometheus")
)

// tool compiles a tool of a module, which Go's cache then has, and says where it is.
func tool(dir string, args ...string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		if err := readByTools(); err != nil {
			return "", err
		}
		name := args[len(args)-1]
		args := slices.Concat([]string{"tool"}, args[:len(args)-1], []string{"-n", name})
		cmd := exec.CommandContext(context.Background(), "go", args...)
		cmd.Dir = dir
		out, err := cmd.Output()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return "", fmt.Errorf("compile %s: %w\n%s", name, err, exit.Stderr)
		}
		return strings.TrimSpace(string(out)), err
	})
}

// readByTools looks at files that no test opens itself. Go's cache of results
// knows of those alone that a test has opened, and not of those that the programs
// open which it starts; a folder that was read stands for the files in it.
func readByTools() error {
	for _, folder := range []string{chart, "testdata", root + "/test/prometheus"} {
		err := filepath.WalkDir(folder, func(_ string, _ fs.DirEntry, err error) error { return err })
		if err != nil {
			return err
		}
	}
	_, err := os.Stat(root + "/go.tools.mod") // which helm it is
	return err
}

// helm runs helm with a home of its own.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return helmAt(t, t.TempDir(), args...)
}

// helmAt runs helm with a home, where it keeps what it knows of an API server.
func helmAt(t *testing.T, home string, args ...string) (string, error) {
	t.Helper()
	path, err := helmPath()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
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
