package docs_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// documents are those of a block.
func documents(text string) (list []string) {
	for d := range strings.SplitSeq("\n"+text, "\n---\n") {
		if strings.TrimSpace(d) != "" {
			list = append(list, d)
		}
	}
	return list
}

// wellFormed says why documents are no objects.
func wellFormed(text string) error {
	for _, d := range documents(text) {
		var o unstructured.Unstructured
		if err := yaml.UnmarshalStrict([]byte(d), &o.Object); err != nil {
			return err
		}
		if o.GetAPIVersion() == "" || o.GetKind() == "" || o.GetName() == "" {
			return fmt.Errorf("no object, with apiVersion, kind and a name:\n%s", d)
		}
	}
	return nil
}

// strictly has the API server look at objects, and keep nothing but their
// namespaces and service accounts, without which it takes no pod.
func (w world) strictly(t *testing.T, text string) error {
	t.Helper()
	if err := wellFormed(text); err != nil {
		return err
	}
	for _, d := range documents(text) {
		var o unstructured.Unstructured
		if err := yaml.UnmarshalStrict([]byte(d), &o.Object); err != nil {
			return err
		}
		if ns := o.GetNamespace(); ns != "" && ns != "default" {
			_, _ = w.kubectl(t, "", "create", "namespace", ns) // it may be there
		}
		args := []string{"apply", "--server-side", "--validate=strict", "--dry-run=server", "-f", "-"}
		if k := o.GetKind(); k == "Namespace" || k == "ServiceAccount" {
			args = []string{"apply", "--server-side", "--validate=strict", "-f", "-"}
		}
		if out, err := w.kubectl(t, d, args...); err != nil {
			return fmt.Errorf("%s\n%s", out, d)
		}
	}
	return nil
}

// values has helm hold them against the chart's schema, and render its templates
// with them.
func (w world) values(t *testing.T, text string) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(programsFolder, "real", "helm"), "template", "podid", root+"/charts/podid", "--namespace", "podid-system", "--values", file)
	cmd.Env = append(os.Environ(), w.env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
