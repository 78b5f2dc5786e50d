package chart_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/golden anew")

// matrix are the files of values that everything is rendered with.
func matrix(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("testdata/values/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no values: %v", err)
	}
	m := map[string]string{}
	for _, file := range files {
		m[strings.TrimSuffix(filepath.Base(file), ".yaml")] = file
	}
	return m
}

func TestRenderings(t *testing.T) {
	for name, values := range matrix(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := render(t, "--values", values)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata/golden", name+".yaml")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("rendering (-want +got), go test ./test/chart -update if it is meant so:\n%s", diff)
			}
		})
	}
}

func TestLint(t *testing.T) {
	for name, values := range matrix(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := helm(t, "lint", "--strict", "--quiet", "--values", values, chart); err != nil {
				t.Error(err)
			}
		})
	}
}
