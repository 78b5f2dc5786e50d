package chart_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/test/localcluster"
)

// cluster is an API server.
type cluster struct {
	*localcluster.ControlPlane

	client  client.WithWatch
	dynamic dynamic.Interface
	home    string // helm's
}

func apiServer(t *testing.T) cluster {
	t.Helper()
	cp, err := localcluster.StartControlPlane(t.Context(), localcluster.ControlPlaneConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cp.Stop)
	s := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(s), apiextensionsv1.AddToScheme(s), v1.AddToScheme(s)); err != nil {
		t.Fatal(err)
	}
	c := cluster{ControlPlane: cp, home: t.TempDir()}
	if c.client, err = client.NewWithWatch(cp.REST(), client.Options{Scheme: s}); err != nil {
		t.Fatal(err)
	}
	if c.dynamic, err = dynamic.NewForConfig(cp.REST()); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c cluster) namespaces(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := c.client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
}

// apply has the API server look at a document as strictly as it can, and keep
// nothing of it: unknown fields, fields that are there twice, and what its own
// validation and admission say. Service accounts it keeps: no pod is admitted
// without its own.
func (c cluster) apply(ctx context.Context, document string) error {
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(document), &o.Object); err != nil {
		return err
	}
	kind := o.GroupVersionKind()
	mapping, err := c.client.RESTMapper().RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return err
	}
	var resource dynamic.ResourceInterface = c.dynamic.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		resource = c.dynamic.Resource(mapping.Resource).Namespace(o.GetNamespace())
	}
	dry := []string{metav1.DryRunAll}
	if kind.Kind == "ServiceAccount" {
		dry = nil
	}
	_, err = resource.Patch(ctx, o.GetName(), types.ApplyPatchType, []byte(document), metav1.PatchOptions{
		FieldManager: "test", FieldValidation: metav1.FieldValidationStrict, DryRun: dry,
	})
	return err
}

// documents are those of a manifest that are more than comments.
func documents(manifest string) []string {
	var list []string
	for document := range strings.SplitSeq("\n"+manifest, "\n---\n") {
		if strings.Contains("\n"+document, "\nkind: ") {
			list = append(list, document)
		}
	}
	return list
}

// others says whether a document is of a kind of the Prometheus operator, whose
// definitions are not here.
func others(document string) bool {
	return strings.Contains(document, "apiVersion: monitoring.coreos.com/")
}

func TestTheAPIServerTakesWhatIsRendered(t *testing.T) {
	t.Parallel()
	c := apiServer(t)
	if err := c.InstallCRDs(t.Context(), root+"/config/crd"); err != nil {
		t.Fatal(err)
	}
	c.namespaces(t, "podid-system", "team-a")
	manifests := map[string]string{}
	for name, values := range matrix(t) {
		for mode, more := range map[string][]string{"": nil, ", upgrade": {"--is-upgrade"}} {
			manifest, err := render(t, append(more, "--values", values)...)
			if err != nil {
				t.Fatal(err)
			}
			manifests[name+mode] = manifest
		}
	}
	files, err := filepath.Glob(root + "/deploy/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no plain manifests: %v", err)
	}
	for _, file := range append(files, root+"/charts/podid/crds/aadpodidentity.k8s.io_azureidentities.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		manifests[filepath.Base(file)] = string(text)
	}
	for name, manifest := range manifests {
		t.Run(name, func(t *testing.T) {
			for _, document := range documents(manifest) {
				if others(document) {
					continue
				}
				if err := c.apply(t.Context(), document); err != nil {
					t.Errorf("%v\n%s", err, document)
				}
			}
		})
	}
	t.Run("and would find what is wrong", func(t *testing.T) {
		for _, wrong := range []string{
			"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: team-a}\ndate: {}",
			"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: team-a}\ndata: {}\ndata: {}",
		} {
			if err := c.apply(t.Context(), wrong); err == nil {
				t.Errorf("taken:\n%s", wrong)
			}
		}
	})
}
